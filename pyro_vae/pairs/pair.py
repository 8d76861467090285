"""A pair made of a hand-written model and guide."""

import inspect
import warnings
from collections.abc import Callable

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.distributions import constraints, transform_to

from pyro_vae.arguments import check_function, check_type
from pyro_vae.pairs.parameters import answer, find_modules, initial_value, register


class Pair(nn.Module):
    """A pair made of a hand-written Pyro model and guide, which then goes through every tool.

    The modules that the functions use become the pair's: a module that *is* the model or guide,
    the owner of a bound method, and every module that a function refers to. A bare
    `pyro.param("a", init)` belongs to no module. The first run adopts it and warns that it did.
    The parameter then starts at what the parameter store holds under that name, or else at
    `init`. From then on it is the pair's own, and two pairs with the same names do not share it.

    Arguments:
        model: `model(x, ...)`: x ~ p(x | z), z ~ p(z), within `pyro.plate("data", x.shape[0])`.
            The plate may have any name. It is the innermost one.
        guide: `guide(x, ...)`: z ~ q(z | x), within the same plate.
        name: The name under which the parameters are registered with Pyro. Two pairs that live at
            the same time need two names.

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

        functions = {"model": model, "guide": guide}
        check_type("name", name, str, "a string")
        for role, fn in functions.items():
            check_function(role, fn, "a function of the data")

        self.name = name
        self.functions = functions
        self.parts = nn.ModuleDict()
        self.adopted: dict[str, str] = {}
        for role, fn in functions.items():
            for key, module in find_modules(fn, role).items():
                self._keep(key, module)

    def model(self, *data, **kwargs):
        return self._run("model", data, kwargs)

    def guide(self, *data, **kwargs):
        return self._run("guide", data, kwargs)

    def __repr__(self) -> str:
        names = ", ".join(_name_of(fn) for fn in self.functions.values())
        return f"Pair({names}, name={self.name!r})"

    def _run(self, role: str, data: tuple, kwargs: dict):
        register(self, self.name)
        with _Adopt(self):
            return self.functions[role](*data, **kwargs)

    def _keep(self, key: str, module: nn.Module) -> None:
        if any(module is part for part in self.parts.values()):
            return

        # a ModuleDict refuses the names of its own methods
        while key in self.parts or key in dir(nn.ModuleDict):
            key += "_"
        self.parts[key] = module


class _Adopt(Messenger):
    """Inside this context, every `pyro.param` returns the pair's own tensor.

    A parameter that is not the pair's yet becomes one.
    """

    def __init__(self, pair: Pair):
        super().__init__()
        self.pair = pair

    def _pyro_param(self, msg: dict) -> None:
        init = initial_value(msg)
        if isinstance(init, nn.Parameter):
            self._adopt_parameter(msg["name"], init)
            answer(msg, init, init)
            return

        constraint = msg["kwargs"].get("constraint") or constraints.real
        bijection = transform_to(constraint)
        if msg["name"] not in self.pair.adopted:
            start = _find_start(msg["name"], init)
            if start is None:
                return
            self._adopt_bare(msg["name"], bijection.inv(start).clone())

        raw = self.pair.get_parameter(self.pair.adopted[msg["name"]])
        answer(msg, bijection(raw), raw)

    def _adopt_parameter(self, name: str, parameter: nn.Parameter) -> None:
        if not any(parameter is own for own in self.pair.parameters()):
            self.pair.register_parameter(_key_of(name), parameter)

    def _adopt_bare(self, name: str, raw: torch.Tensor) -> None:
        self.pair.register_parameter(_key_of(name), nn.Parameter(raw))
        self.pair.adopted[name] = _key_of(name)
        warnings.warn(
            f"{self.pair!r} adopts pyro.param({name!r}): it is now a parameter of the pair, and no "
            "longer shared through the parameter store under that name",
            stacklevel=3,
        )


def find_arguments(pair: nn.Module) -> list[inspect.Parameter]:
    """The arguments that the model of a pair takes, x first."""
    model = pair.functions["model"] if isinstance(pair, Pair) else pair.model
    return list(inspect.signature(model).parameters.values())


def group_parameters(pair: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters that a pair learns, by the part of the pair to which they belong."""
    parts = pair.parts if isinstance(pair, Pair) else pair
    groups = {name: list(part.parameters()) for name, part in parts.named_children()}
    groups |= {name: [p] for name, p in pair.named_parameters(recurse=False)}

    learned = {name: [p for p in group if p.requires_grad] for name, group in groups.items()}
    return {name: group for name, group in learned.items() if group}


def _find_start(name: str, init) -> torch.Tensor | None:
    store = pyro.get_param_store()
    if name in store:
        return store[name].detach()

    value = init() if callable(init) else init
    return None if value is None else torch.as_tensor(value).detach()


def _key_of(name: str) -> str:
    return "adopted_" + name.replace(".", "_")


def _name_of(fn: Callable) -> str:
    return getattr(fn, "__qualname__", type(fn).__name__)
