"""From JSON back to the parts that were written."""

from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor, nn

from pyro_vae.recipes import PLAIN
from pyro_vae.sharing.names import find


class Reader:
    """Makes what `Writer` wrote. It calls nothing but what names stand for.

    Arguments:
        tensors: The tensors by name.
        trusted: The packages from which something may be imported.
    """

    def __init__(self, tensors: dict[str, Tensor], trusted: Collection[str]):
        self.tensors = tensors
        self.trusted = trusted
        self.modules: list[nn.Module] = []
        self.kinds: dict[str, Callable[[Any], Any]] = {
            "tuple": lambda value: tuple(self._read_list(value)),
            "dict": lambda value: dict(map(self._read_list, value)),
            "tensor": lambda value: self.tensors[value],
            "name": lambda value: find(value, self.trusted),
            "same": lambda value: self.modules[value],
        }

    def read(self, value: Any) -> Any:
        """The value that some JSON stands for.

        Raises:
            ValueError: if it stands for none, or a part refuses what it is made with.
        """
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, list):
            return self._read_list(value)
        if "call" in value:
            return self._call(**value)
        if len(value) != 1 or not value.keys() <= self.kinds.keys():
            raise ValueError(f"expected one of {', '.join(self.kinds)} or call, got {value}")
        ((kind, held),) = value.items()
        try:
            return self.kinds[kind](held)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{value} stands for nothing: {error!r}") from error

    def _read_list(self, value: list) -> list:
        return [self.read(part) for part in value]

    def _call(self, call: str, args: Any = (), options: Any = None, **others: Any) -> Any:
        if others or not isinstance(args, list | tuple) or not isinstance(options, dict | None):
            raise ValueError(f"{call}: expected a call, its args and its options")
        maker = find(call, self.trusted)
        given = self._read_list(list(args))
        named = {key: self.read(part) for key, part in (options or {}).items()}
        try:
            made = maker(*given, **named)
        except (TypeError, ValueError, RuntimeError, MemoryError) as error:
            raise ValueError(f"{call} cannot be made: {error}") from error
        if isinstance(made, nn.Module):
            self.modules.append(made)
        return made
