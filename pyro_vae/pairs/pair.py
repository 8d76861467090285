"""A pair of a hand-written model and guide, and how the parameters of any pair are kept its own."""

import functools
import inspect
import warnings
import weakref
from collections.abc import Callable

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.distributions import transform_to


class OwnParameters(Messenger):
    """Answers `pyro.param` messages that bring a module's parameter with that parameter itself.

    Under it the global parameter store is neither asked nor changed, and `register` has nothing to
    do.
    """

    depth = 0

    def __enter__(self):
        OwnParameters.depth += 1
        return super().__enter__()

    def __exit__(self, *error):
        OwnParameters.depth -= 1
        return super().__exit__(*error)

    def _pyro_param(self, msg: dict) -> None:
        init = _initial(msg)
        if isinstance(init, nn.Parameter):
            _answer(msg, init, init)


def register(pair: nn.Module, name: str) -> None:
    """Make the parameters of a pair known to Pyro, under the name of the pair.

    Raises:
        ValueError: if the parameter store holds another pair's parameters under that name; Pyro
            would then train those, and not these, without a word.
    """
    if OwnParameters.depth:
        return
    for key, value in pair.named_parameters():
        if value.requires_grad and pyro.param(f"{name}$$${key}", value) is not value:
            raise ValueError(
                f"the parameter store already holds another '{name}$$${key}': another pair was registered under "
                f"name={name!r}. Give this one a name of its own, {type(pair).__name__}(..., name='{name}_2'), "
                "or call pyro.clear_param_store() first."
            )


class Pair(nn.Module):
    """A pair made of a hand-written Pyro model and guide, which then goes through every tool.

    The modules that the functions use become the pair's: one that *is* the model or guide, the
    owner of a bound method, those that a function refers to. A bare `pyro.param("a", init)` belongs
    to no module: the first run adopts it, starting at what the parameter store holds under that
    name or at `init`, and warns that it did. From then on the pair answers for it, and two pairs
    with the same names do not share it.

    Arguments:
        model: `model(x, ...)`: x ~ p(x | z), z ~ p(z), within `pyro.plate("data", x.shape[0])`.
        guide: `guide(x, ...)`: z ~ q(z | x), within the same plate.
        name: Under which the parameters are registered with Pyro; two pairs need two names.

    Raises:
        TypeError: if model or guide cannot be called.

    Example:
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> encoder = nn.Linear(1, 1)
        >>> def guide(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         pyro.sample("z", dist.Normal(encoder(x[:, None])[:, 0], 0.5**0.5))
        >>> pair = Pair(model, guide)
        >>> sum(p.numel() for p in pair.parameters())
        2
    """

    def __init__(self, model: Callable, guide: Callable, *, name: str = "pair"):
        super().__init__()

        for role, fn in (("model", model), ("guide", guide)):
            if not callable(fn):
                raise TypeError(f"{role}: expected a function of the data, got {type(fn).__name__}")
        self.name = name
        self._model, self._guide = model, guide
        self.parts = nn.ModuleDict()
        for role, fn in (("model", model), ("guide", guide)):
            for key, module in modules_of(fn, role).items():
                if not any(module is part for part in self.parts.values()):
                    # a name that a ModuleDict has for itself, or another function's, gets an
                    # underscore
                    while hasattr(self.parts, key):
                        key += "_"
                    self.parts[key] = module
        self._adopted: dict[str, str] = {}

    def model(self, *data, **kwargs):
        register(self, self.name)
        with _Adopt(self):
            return self._model(*data, **kwargs)

    def guide(self, *data, **kwargs):
        register(self, self.name)
        with _Adopt(self):
            return self._guide(*data, **kwargs)

    def __repr__(self) -> str:
        names = (
            getattr(fn, "__qualname__", type(fn).__name__) for fn in (self._model, self._guide)
        )
        return f"Pair({', '.join(names)}, name={self.name!r})"


class _Adopt(Messenger):
    """Answers every `pyro.param` within a pair with the pair's own tensor, which it becomes if it was not."""

    def __init__(self, pair: Pair):
        super().__init__()
        self.pair = pair

    def _pyro_param(self, msg: dict) -> None:
        init, name, constraint = _initial(msg), msg["name"], msg["kwargs"].get("constraint", None)
        key = "adopted_" + name.replace(".", "_")
        if isinstance(init, nn.Parameter):
            if not any(init is p for p in self.pair.parameters()):
                self.pair.register_parameter(key, init)
            _answer(msg, init, init)
            return

        bijection = transform_to(
            torch.distributions.constraints.real if constraint is None else constraint
        )
        if name not in self.pair._adopted:
            store = pyro.get_param_store()
            value = store[name] if name in store else init() if callable(init) else init
            if value is None:
                return
            raw = bijection.inv(torch.as_tensor(value).detach()).clone()
            self.pair.register_parameter(key, nn.Parameter(raw))
            self.pair._adopted[name] = key
            warnings.warn(
                f"{self.pair!r} adopts pyro.param({name!r}): it is now a parameter of the pair, no longer shared "
                "through the parameter store under that name",
                stacklevel=2,
            )
        own = getattr(self.pair, self.pair._adopted[name])
        _answer(msg, bijection(own), own)


def _initial(msg: dict):
    return msg["args"][1] if len(msg["args"]) > 1 else None


def _answer(msg: dict, value: torch.Tensor, unconstrained: nn.Parameter) -> None:
    value.unconstrained = weakref.ref(unconstrained)
    msg["value"], msg["done"] = value, True


def modules_of(fn: Callable, role: str) -> dict[str, nn.Module]:
    """The modules that a function is, belongs to, or refers to, by name."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, nn.Module):
        return {role: fn}
    if inspect.ismethod(fn):
        return (
            {type(fn.__self__).__name__: fn.__self__} if isinstance(fn.__self__, nn.Module) else {}
        )
    if not inspect.isfunction(fn):
        return {}
    seen = inspect.getclosurevars(fn)
    return {
        key: m for key, m in {**seen.globals, **seen.nonlocals}.items() if isinstance(m, nn.Module)
    }
