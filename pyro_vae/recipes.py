"""What a part was made with, so that it can be made again elsewhere."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, str, type(None))
RECIPE = "_recipe"  # the attribute under which a part keeps its own

Made = TypeVar("Made")


@dataclass(frozen=True)
class Name:
    """A class or a function by its name, "module:name"."""

    text: str


@dataclass(frozen=True)
class Unnamed:
    """A value that cannot be made again elsewhere, in words."""

    words: str


@dataclass(frozen=True)
class Recipe:
    """A call, and so what it returned.

    Attributes:
        maker: The class or function that is called.
        args, options: What it is called with: plain values, tensors, modules, lists, tuples,
            dicts, names and recipes.
    """

    maker: Name | Unnamed
    args: tuple
    options: dict[str, Any]


class Recorded:
    """Remembers what it was made with. Put it before `nn.Module` among the bases of a class."""

    def __new__(cls, *args: Any, **options: Any):
        self = super().__new__(cls)
        # a module takes no attribute through its own setter before it is set up
        object.__setattr__(self, RECIPE, _write(cls, args, options))
        return self


def recorded(maker: Callable[..., Made]) -> Callable[..., Made]:
    """Make a function that returns a module or a builder remember what it was called with."""

    @functools.wraps(maker)
    def make(*args: Any, **options: Any) -> Made:
        made = maker(*args, **options)
        object.__setattr__(made, RECIPE, _write(make, args, options))
        return made

    return make


def read_recipe(made: object) -> Recipe | None:
    """What something was made with, or None where it does not say."""
    return getattr(made, RECIPE, None)


def _write(maker: Callable, args: tuple, options: Mapping[str, Any]) -> Recipe:
    values = {key: _describe(value) for key, value in options.items()}
    return Recipe(_name(maker), tuple(map(_describe, args)), values)


def _describe(value: Any) -> Any:
    """A value in a form that outlives the functions of this process. Modules stay themselves."""
    if isinstance(value, (*PLAIN, nn.Module)):
        return value
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return torch.as_tensor(value).detach()
    if isinstance(value, list | tuple):
        kind = list if isinstance(value, list) else tuple  # a shape is a tuple as well
        return kind(map(_describe, value))
    if isinstance(value, Mapping):
        return {key: _describe(part) for key, part in value.items()}
    if isinstance(value, functools.partial):
        return Recipe(Name("functools:partial"), *_describe_call(value))
    return read_recipe(value) or _name(value)


def _describe_call(value: functools.partial) -> tuple[tuple, dict[str, Any]]:
    args = tuple(map(_describe, (value.func, *value.args)))
    return args, {key: _describe(part) for key, part in value.keywords.items()}


def _name(value: Any) -> Name | Unnamed:
    """A class or function by the name under which another process finds it."""
    if not isinstance(value, type) and not inspect.isroutine(value):
        return Unnamed(f"a {type(value).__qualname__}")
    if "<" in value.__qualname__ or value.__module__ == "__main__":
        return Unnamed(f"{value.__qualname__}, which no other process can import")
    return Name(f"{value.__module__}:{value.__qualname__}")
