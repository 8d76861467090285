"""What a run keeps, as a tree of tensors and plain values."""

from abc import ABC, abstractmethod
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


def match(saved: Any, now: Any) -> Any:
    """Give a tree that came back from a file the types and devices of the tree as it is now.

    Example:
        >>> match({"0": [1, 2]}, {0: (0, 0)})
        {0: (1, 2)}
    """
    if isinstance(now, Tensor) and isinstance(saved, Tensor | int | float):
        return torch.as_tensor(saved, dtype=now.dtype, device=now.device)
    if isinstance(now, int | float) and isinstance(saved, Tensor):
        return saved.item()
    if isinstance(now, dict) and isinstance(saved, dict):
        return type(now)(_match_items(saved, now))
    if isinstance(now, list | tuple) and _is_as_long(saved, now):
        return type(now)([match(a, b) for a, b in zip(saved, now)])
    return saved


def _is_as_long(saved: Any, now: list | tuple) -> bool:
    return isinstance(saved, list) and len(saved) == len(now)


def _match_items(saved: dict, now: dict) -> dict:
    keys = {str(key): key for key in now}
    matched = {}
    for text, branch in saved.items():
        key = keys.get(text, text)
        matched[key] = match(branch, now.get(key))
    return matched
