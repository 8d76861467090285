"""Recipes as JSON, and tensors beside it."""

from typing import Any

from torch import Tensor, nn

from pyro_vae.recipes import PLAIN, Name, Recipe, read_recipe
from pyro_vae.sharing.names import shorten


class Writer:
    """Writes what parts were made with as values that JSON knows.

    A list, a number, a text, True, False and None are themselves. Everything else is an object of
    one entry that says what it is: `tuple`, `dict`, `tensor`, `name`, `call` or `same`.

    Attributes:
        tensors: The tensors that were met, by the name that stands for each.
        places: The place in the order of completion of each module that was written, by its id.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.places: dict[int, int] = {}

    def write(self, value: Any, path: str) -> Any:
        """A value as JSON.

        Arguments:
            value: What a recipe holds.
            path: Where it stands, for errors.

        Raises:
            ValueError: if it cannot be made again in another process.
        """
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, Tensor):
            return {"tensor": self._keep(value)}
        if isinstance(value, list):
            return [self.write(part, f"{path}[{i}]") for i, part in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": self.write(list(value), path)}
        if isinstance(value, dict):
            return {"dict": [[k, self.write(part, f"{path}[{k!r}]")] for k, part in value.items()]}
        if isinstance(value, nn.Module):
            return self._write_module(value, path)
        if isinstance(value, Recipe):
            return self._write_call(value, path)
        return {"name": _name(value, path)}

    def _keep(self, tensor: Tensor) -> str:
        name = f"argument.{len(self.tensors)}"
        self.tensors[name] = tensor
        return name

    def _write_module(self, module: nn.Module, path: str) -> Any:
        if id(module) in self.places:
            return {"same": self.places[id(module)]}
        recipe = read_recipe(module)
        if recipe is None:
            raise ValueError(
                f"{path}: a {type(module).__qualname__} does not say what it was made with, so it "
                "cannot be made again; pass a function that builds it in place of the module, or "
                "put @pv.recorded above the function that built it, or use pv.save_weights"
            )
        written = self._write_call(recipe, path)
        self.places[id(module)] = len(self.places)
        return written

    def _write_call(self, recipe: Recipe, path: str) -> dict:
        args = [self.write(part, f"{path}, argument {i}") for i, part in enumerate(recipe.args, 1)]
        options = {k: self.write(part, f"{path}.{k}") for k, part in recipe.options.items()}
        written: dict[str, Any] = {"call": _name(recipe.maker, path)}
        if args:
            written["args"] = args
        if options:
            written["options"] = options
        return written


def _name(value: Any, path: str) -> str:
    if isinstance(value, Name):
        return shorten(value.text)
    raise ValueError(
        f"{path}: {value.words} cannot be found by another process; write it as a function or "
        "class at the top of a file that can be imported"
    )
