"""Rows of data as a pair takes them: on its device, in its types, with x transformed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pyro_vae.arguments import check_type, say_again
from pyro_vae.weights.blocks import count_numbers, cut

BLOCK = {"cpu": 2**19, "cuda": 2**24}  # numbers that are looked at a time: a cache full, or a GPU
NARROW = (torch.uint8, torch.int8, torch.int16)

Transform = Callable[[Tensor], Tensor]


class Preparation:
    """What is done to rows before a pair sees them. The rows themselves are never changed.

    Arguments:
        device: Where they go.
        precision: The type of floating numbers, or None to leave it.
        transform: Applied to x, or None.
    """

    def __init__(
        self, device: torch.device, precision: torch.dtype | None, transform: Transform | None
    ):
        self.device = device
        self.precision = precision
        self.transform = transform

    def place(self, part: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """On the device, with floating numbers in their precision."""
        return tuple(to_precision(d.to(self.device), self.precision) for d in part)

    def finish(self, part: tuple[Tensor, ...], is_copy: bool = False) -> tuple[Tensor, ...]:
        """With x transformed, and integers wide enough to compute with.

        Arguments:
            part: What `place` gave.
            is_copy: Whether a transform may write to x, which nobody else holds.
        """
        if self.transform is not None:
            x = part[0] if is_copy else part[0].clone()
            made = apply_transform(self.transform, x)
            part = (to_precision(made, self.precision), *part[1:])
        return tuple(map(widen, part))

    def __call__(self, part: tuple[Tensor, ...], is_copy: bool = False) -> tuple[Tensor, ...]:
        return self.finish(self.place(part), is_copy)


class Rows:
    """Data of which some rows are taken at a time, so that nothing is made of the size of all.

    Arguments:
        data: The data, x first, `[n, *event]`.
        prepare: What is done to the rows that are taken.
    """

    def __init__(self, data: tuple[Tensor, ...], prepare: Preparation):
        self.data = data
        self.prepare = prepare

    def __len__(self) -> int:
        return self.data[0].shape[0]

    def take(self, rows: slice | Tensor) -> tuple[Tensor, ...]:
        """Some rows, prepared."""
        if isinstance(rows, slice):
            return self.prepare(tuple(d[rows] for d in self.data))
        # it copies rows whole, where an index in brackets copies number by number
        part = tuple(d.index_select(0, rows) for d in self.data)
        return self.prepare(part, is_copy=True)

    def cut(self) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """All rows in blocks of at least two, unprepared: where each starts, and the block."""
        limit = BLOCK.get(self.data[0].device.type, BLOCK["cpu"])
        rows = max(2, limit // max(map(count_numbers, self.data)))
        for block, part in cut(self.data, rows):
            yield block.start, part


def apply_transform(transform: Transform, x: Tensor) -> Tensor:
    """What a transform makes of x.

    Raises:
        TypeError: if it returns no tensor.
        ValueError: if it returns another number of rows.
    """
    made, rows = transform(x), x.shape[0]
    check_type("transform", made, Tensor, "a function that returns a tensor")
    if made.shape[:1] != (rows,):
        raise ValueError(
            f"transform: expected a function that returns as many rows as it is given, {rows}, got "
            f"shape {tuple(made.shape)}"
        )
    return made


@contextmanager
def explain_transform(transform: Transform | None) -> Iterator[None]:
    """Inside this context, an error on x says that x was transformed, if it was."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if transform is None:
            raise
        raise say_again(error, f"{error} This x is what transform= returned.") from error


def to_precision(values: Tensor, precision: torch.dtype | None) -> Tensor:
    """Floating numbers in a precision, if one is given. Others stay as they are."""
    if precision is None or not values.is_floating_point():
        return values
    return values.to(precision)


def widen(values: Tensor) -> Tensor:
    """Integers of 8 and 16 bits as int64, because twice the byte 200 is 144.

    Example:
        >>> 2 * widen(torch.tensor([200], dtype=torch.uint8))
        tensor([400])
    """
    return values.long() if values.dtype in NARROW else values
