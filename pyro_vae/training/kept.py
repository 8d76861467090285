"""What a run keeps, as a tree of tensors and plain values."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

TENSOR = "$tensor"  # the only key of what stands for a tensor in the notes


class Kept(ABC):
    """A part of a run's state, which goes into a checkpoint and comes back from it."""

    @abstractmethod
    def pack(self) -> Any:
        """Everything that this part must keep: a tree of tensors and values that JSON has."""

    @abstractmethod
    def unpack(self, saved: Any, source: str) -> None:
        """Go on from what `pack` returned.

        Arguments:
            saved: What came back from the file. JSON turns tuples into lists, and keys into text.
            source: The name of the file, for messages.
        """


def split(tree: Any, name: str = "") -> tuple[Any, dict[str, Tensor]]:
    """A tree without its tensors, and its tensors by their path in the tree.

    Example:
        >>> split({"a": 1, "b": {"c": torch.ones(2)}})
        ({'a': 1, 'b': {'c': {'$tensor': 'b/c'}}}, {'b/c': tensor([1., 1.])})
    """
    if isinstance(tree, Tensor):
        return {TENSOR: name}, {name: tree}
    if not isinstance(tree, dict | list | tuple):
        return tree, {}

    branches = tree if isinstance(tree, dict) else dict(enumerate(tree))
    notes: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for key, branch in branches.items():
        path = f"{name}/{key}" if name else str(key)
        notes[str(key)], inner = split(branch, path)
        tensors |= inner
    return notes if isinstance(tree, dict) else list(notes.values()), tensors


def join(notes: Any, tensors: dict[str, Tensor]) -> Any:
    """Put tensors back where `split` took them out.

    Raises:
        ValueError: if one of them is not there.

    Example:
        >>> join({"a": 1, "b": {"$tensor": "b"}}, {"b": torch.ones(2)})
        {'a': 1, 'b': tensor([1., 1.])}
    """
    if isinstance(notes, list):
        return [join(branch, tensors) for branch in notes]
    if not isinstance(notes, dict):
        return notes
    if list(notes) == [TENSOR]:
        return _find(notes[TENSOR], tensors)
    return {key: join(branch, tensors) for key, branch in notes.items()}


def _find(name: Any, tensors: dict[str, Tensor]) -> Tensor:
    if not isinstance(name, str) or name not in tensors:
        raise ValueError(f"its notes name a tensor {name!r}, which it does not hold")
    return tensors[name]


@contextmanager
def reading(source: str, name: str) -> Iterator[None]:
    """Inside this context an error says which part of which file cannot be read.

    Raises:
        ValueError: where what came back has not the form that `Kept.unpack` needs.
    """
    try:
        yield
    except (TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"checkpoint: {source} is damaged, its {name} cannot be read: {error!r}"
        ) from error


def match(saved: Any, now: Any) -> Any:
    """Give a tree that came back from a file the types and devices of the tree as it is now.

    Lists may have become longer, and a tree may have further branches.

    Raises:
        TypeError: if it has another form: a tensor of another shape, or a text for a number. It
            says which branch.

    Example:
        >>> match({"0": [1, 2]}, {0: (0, 0)})
        {0: (1, 2)}
        >>> match({"a": "one"}, {"a": 1})
        Traceback (most recent call last):
        TypeError: a is 'one', expected a number
    """
    return _match(saved, now, "it")


def _match(saved: Any, now: Any, name: str) -> Any:
    if isinstance(now, Tensor):
        return _match_tensor(saved, now, name)
    if isinstance(now, int | float | None):
        return _match_number(saved, now, name)
    if isinstance(now, dict):
        return type(now)(_match_items(saved, now, name))
    if isinstance(now, list | tuple):
        return type(now)(_match_list(saved, now, name))
    _expect(isinstance(saved, str), saved, "a text", name)
    return saved


def _match_tensor(saved: Any, now: Tensor, name: str) -> Tensor:
    if isinstance(saved, int | float):
        saved = torch.tensor(saved)
    fits = isinstance(saved, Tensor) and saved.shape == now.shape
    _expect(fits, saved, f"a tensor of shape {tuple(now.shape)}", name)
    return saved.to(dtype=now.dtype, device=now.device)


def _match_number(saved: Any, now: float | None, name: str) -> Any:
    if isinstance(saved, Tensor) and saved.numel() == 1:
        saved = saved.item()
    is_none = now is None and saved is None
    _expect(is_none or isinstance(saved, int | float), saved, "a number", name)
    return saved


def _match_items(saved: Any, now: dict, name: str) -> dict:
    keys = {str(key): key for key in now}
    fits = isinstance(saved, dict) and keys.keys() <= saved.keys()
    _expect(fits, saved, f"a tree with {', '.join(keys)}", name)
    more = {text: branch for text, branch in saved.items() if text not in keys}
    return {key: _match(saved[text], now[key], text) for text, key in keys.items()} | more


def _match_list(saved: Any, now: list | tuple, name: str) -> list:
    fits = isinstance(saved, list | tuple) and len(saved) >= len(now)
    is_longer = fits and len(saved) > len(now)
    _expect(fits and not (is_longer and isinstance(now, tuple)), saved, f"{len(now)} of them", name)
    return [_match(a, b, name) for a, b in zip(saved, now)] + list(saved[len(now) :])


def _expect(fits: bool, saved: Any, expected: str, name: str) -> None:
    if not fits:
        got = (
            f"a tensor of shape {tuple(saved.shape)}" if isinstance(saved, Tensor) else repr(saved)
        )
        raise TypeError(f"{name} is {got}, expected {expected}")
