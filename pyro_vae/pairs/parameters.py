"""How a pair keeps its parameters its own, inside and outside Pyro's parameter store."""

import functools
import gc
import inspect
import weakref
from collections.abc import Callable

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import nn

_owners: dict[str, weakref.ref] = {}


class OwnParameters(Messenger):
    """Inside this context, `pyro.param(name, p)` returns the module's own parameter p.

    Pyro's global store is neither read nor written, and `register` has nothing to do.
    """

    depth = 0

    def __enter__(self):
        OwnParameters.depth += 1
        return super().__enter__()

    def __exit__(self, *error):
        OwnParameters.depth -= 1
        return super().__exit__(*error)

    def _pyro_param(self, msg: dict) -> None:
        init = initial_value(msg)
        if isinstance(init, nn.Parameter):
            answer(msg, init, init)


def register(pair: nn.Module, name: str) -> None:
    """Make the parameters of a pair known to Pyro, under the name of the pair.

    A pair that no longer exists gives its name up, so that a cell of a notebook can be run twice.

    Raises:
        ValueError: if a living pair has registered its parameters under that name. Pyro would
            then train those, and not these, without a word.
    """
    if OwnParameters.depth:
        return

    _free_name(name)
    conflict = _find_conflict(pair, name)
    if conflict is not None:
        # the old pair may be dead, and only waiting for the garbage collector
        gc.collect()
        _free_name(name)
        conflict = _find_conflict(pair, name)
    if conflict is not None:
        raise ValueError(
            f"the parameter store already holds another '{conflict}': another pair was registered "
            f"under name={name!r}. Give this one a name of its own, "
            f"{type(pair).__name__}(..., name='{name}_2'), or call pyro.clear_param_store() first."
        )

    _owners[name] = weakref.ref(pair)


def _find_conflict(pair: nn.Module, name: str) -> str | None:
    """Register each parameter; return the first name that is another pair's."""
    for key, value in pair.named_parameters():
        registered = f"{name}$$${key}"
        if value.requires_grad and pyro.param(registered, value) is not value:
            return registered
    return None


def _free_name(name: str) -> None:
    """Forget what a pair that no longer exists has registered under the name."""
    owner = _owners.get(name)
    if owner is None or owner() is not None:
        return

    store = pyro.get_param_store()
    for key in [key for key in store if key.startswith(f"{name}$$$")]:
        del store[key]
    del _owners[name]


def initial_value(msg: dict):
    """What a `pyro.param` statement starts its parameter at, or None."""
    args = msg["args"]
    return args[1] if len(args) > 1 else None


def answer(msg: dict, value: torch.Tensor, unconstrained: nn.Parameter) -> None:
    """Answer a `pyro.param` statement with a value made from an unconstrained parameter."""
    value.unconstrained = weakref.ref(unconstrained)  # type: ignore[attr-defined]  # as Pyro does
    msg["value"] = value
    msg["done"] = True


def find_modules(fn: Callable, role: str) -> dict[str, nn.Module]:
    """The modules that a function is, belongs to, or refers to, by name."""
    while isinstance(fn, functools.partial):
        fn = fn.func

    if isinstance(fn, nn.Module):
        return {role: fn}
    if inspect.ismethod(fn):
        owner = fn.__self__
        return {type(owner).__name__: owner} if isinstance(owner, nn.Module) else {}
    if not inspect.isfunction(fn):
        return {}

    seen = inspect.getclosurevars(fn)
    variables = {**seen.globals, **seen.nonlocals}
    return {key: value for key, value in variables.items() if isinstance(value, nn.Module)}
