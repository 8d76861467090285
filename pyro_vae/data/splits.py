"""Splits by a permutation that never changes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data.dataset import Dataset


def split(
    x: Tensor,
    y: Tensor | None,
    source: str,
    *,
    sizes: Sequence[int] | None = None,
    lengths: Tensor | None = None,
) -> Dataset:
    """Split x and its labels into train, validation and test.

    The permutation is drawn by NumPy's legacy generator at seed 0, which NumPy keeps as it is.

    Arguments:
        x: `[n, *event]`.
        y: Labels, `[n]`, or None.
        source: What the data are, for the description and for errors.
        sizes: Rows of the three splits. By default validation and test have a tenth each.
        lengths: The steps of sequences, `[n]`, or None.

    Raises:
        ValueError: if there are fewer than three rows, or not one label or length for each row.
    """
    n = _count_rows(x, y, source, lengths)
    if sizes is None:
        tenth = max(1, n // 10)
        sizes = (n - 2 * tenth, tenth, tenth)
    order = np.random.RandomState(0).permutation(n)
    rows = torch.from_numpy(order).split(list(sizes))
    train, validation, test = (x[index] for index in rows)
    labels = None if y is None else tuple(y[index] for index in rows)
    counts = " / ".join(map(str, sizes))
    description = f"{source}, split {counts} at random"

    return Dataset(
        train=train,
        validation=validation,
        test=test,
        labels=labels,
        description=description,
        lengths=None if lengths is None else tuple(lengths[index] for index in rows),
    )


def _count_rows(x: Tensor, y: Tensor | None, source: str, lengths: Tensor | None) -> int:
    """How many rows there are, checked against the labels and lengths."""
    n = len(x) if x.dim() else 0
    if n < 3:
        raise ValueError(f"data: {source} has {n} rows; at least 3 are needed, one for each split")
    if y is not None and len(y) != n:
        raise ValueError(f"data: {source} has {n} rows x and {len(y)} labels y")
    if y is not None and y.dim() != 1:
        raise ValueError(
            f"data: {source} has labels y of shape {tuple(y.shape)}, expected one for each row, "
            f"({n},); of one-hot rows they are y.argmax(1)"
        )
    if lengths is not None and len(lengths) != n:
        raise ValueError(f"data: {source} has {n} rows x and {len(lengths)} lengths")
    return n
