"""A data set: three splits of x, their labels, and a description."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_vae.arguments import as_tensor, check_seed


class Dataset(NamedTuple):
    """A data set in memory. Its three splits never change.

    Attributes:
        train, validation, test: x, `[n, *event]`. Images are `[n, channels, height, width]`, in
            [0, 1].
        labels: The labels of the three splits, `[n]` each, or None.
        description: What the data are and how they were split.
        vocabulary: The names of the numbers of x, of words for example, or None.
        lengths: Of sequences `[n, T, *event]`, the steps of each in the three splits, `[n]` each,
            otherwise None. What lies beyond them is padding.
        covariates: A covariate of the three splits, `[n, *event]` each, or None.
        table: Of a table of mixed columns, the `Table` that makes cells of x again, or None.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    labels: tuple[Tensor, ...] | None
    description: str
    vocabulary: tuple[str, ...] | None = None
    lengths: tuple[Tensor, ...] | None = None
    covariates: tuple[Tensor, ...] | None = None
    table: Any = None

    @property
    def splits(self) -> dict[str, Tensor]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in self.splits.items())
        return f"Dataset({shapes}: {self.description})"


def binarise(x: Tensor, seed: int = 0) -> Tensor:
    """Draw each grey value in [0, 1] from its Bernoulli distribution. One seed gives one result.

    Raises:
        TypeError: if x is no tensor, or the seed no whole number.
        ValueError: if x has values beyond [0, 1].

    Example:
        >>> binarise(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    x = as_tensor("x", x)
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError(
            f"x: expected values in [0, 1], got values from {x.min():g} to {x.max():g}"
        )
    seed = check_seed("seed", seed)
    generator = torch.Generator().manual_seed(seed)
    return torch.bernoulli(x, generator=generator)
