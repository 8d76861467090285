"""The labels of a data set as classes that are numbered from 0, some of them known."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pyro_vae.arguments import check_whole
from pyro_vae.data import Dataset

UNKNOWN = -1
# data sets whose splits hold different classes under the same numbers
DISJOINT = ("omniglot",)


class Classes(NamedTuple):
    """The classes of three splits.

    Attributes:
        labels: The label of each class in the data, in increasing order.
        splits: The number of its class for each row, `[n]`, of train, validation and test.
    """

    labels: list[int]
    splits: tuple[Tensor, Tensor, Tensor]

    @property
    def count(self) -> int:
        """How many classes there are."""
        return len(self.labels)

    @property
    def vectors(self) -> list[Tensor]:
        """The classes as one-hot vectors, `[n, K]`, of train, validation and test."""
        return [one_hot(y, self.count).float() for y in self.splits]


NONE_KNOWN = Classes([], (torch.empty(0), torch.empty(0), torch.empty(0)))


def read_classes(option: str, name: str, dataset: Dataset) -> Classes:
    """The labels of a data set as classes.

    Arguments:
        option: The option that asks for them, which an error names.
        name: The name of the data set.
        dataset: The data set.

    Raises:
        ValueError: if the data have no labels, or labels that are no whole numbers.
    """
    if dataset.labels is None:
        raise ValueError(
            f"{option}: the data {name} have no labels. Take a data set with labels, digits for "
            "example, or an .npz file with x and its labels y."
        )
    if name in DISJOINT:
        raise ValueError(
            f"{option}: the test split of {name} has other classes than its training split; take "
            "another data set"
        )
    y = torch.cat([labels.flatten() for labels in dataset.labels])
    if not bool((y == y.round() if y.is_floating_point() else y == y).all()):
        raise ValueError(f"{option}: expected labels that are whole numbers, got {y.dtype}")

    values, numbers = y.unique(return_inverse=True)
    train, validation, test = numbers.split([len(labels) for labels in dataset.labels])
    return Classes([int(value) for value in values], (train, validation, test))


def hide(y: Tensor, known: int | None, seed: int) -> Tensor:
    """The classes with -1 for all but so many of them, which are balanced and drawn by a seed.

    Arguments:
        y: The classes, `[n]`.
        known: How many stay, or None for all.
        seed: Random seed.

    Raises:
        ValueError: if there are not so many.

    Example:
        >>> hide(torch.tensor([0, 0, 0, 1, 1, 1]), 2, seed=0).ge(0).sum()
        tensor(2)
    """
    if known is None:
        return y
    if check_whole("labels", known, least=0) > len(y):
        raise ValueError(
            f"labels: expected at most the {len(y)} labels of the training data, got {known}"
        )

    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    chosen = order[_rank_within(y[order]).argsort(stable=True)][:known]
    hidden = torch.full_like(y, UNKNOWN)
    hidden[chosen] = y[chosen]
    return hidden


def _rank_within(y: Tensor) -> Tensor:
    """How many rows of its class come before each row."""
    rank = torch.empty_like(y)
    for value in y.unique():
        rows = (y == value).nonzero().flatten()
        rank[rows] = torch.arange(len(rows))
    return rank
