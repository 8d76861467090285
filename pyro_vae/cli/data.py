"""The data of a run, binarised where the likelihood asks for it."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.cli.classes import NONE_KNOWN, Classes
from pyro_vae.cli.parts import Config
from pyro_vae.data import Dataset, binarise
from pyro_vae.training.origin import describe

NONE = "none"
CHECKED = 4096  # rows that are looked at a time
DYNAMIC = "dynamic in training, once for validation and test"

Rows = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Arranged:
    """What a pair is called with, x first, for each split.

    Attributes:
        train, validation: What it is trained with, and what is measured after each epoch.
        test: What is measured in the end.
        classes: The classes of the data, where the pair knows of them.
    """

    train: Rows
    validation: Rows
    test: Rows
    classes: Classes = NONE_KNOWN


@dataclass(frozen=True, kw_only=True)
class RunData(Arranged):
    """The data of a run, as its pair takes them.

    Attributes:
        dataset: The data set.
        binarisation: In words, how it is binarised.
    """

    dataset: Dataset
    binarisation: str


def load_data(
    config: Config,
    load: Callable[[Config], Dataset],
    arrange: Callable[[Config, Dataset], Arranged],
) -> RunData:
    """Load the data of a configuration. Grey ones are binarised for a Bernoulli likelihood.

    Validation and test are binarised here, once. Training draws anew in every epoch.

    Arguments:
        config: The configuration.
        load: Loads the data set.
        arrange: Arranges a data set for the pair.

    Raises:
        ValueError: if the data cannot be loaded, or only some of their splits are grey. Also if the
            pair cannot take them.
    """
    dataset = load(config)
    binarisation = NONE
    if config["likelihood"] == "bernoulli" and _is_grey(dataset.train):
        dataset, binarisation = _binarise(dataset), DYNAMIC

    arranged = arrange(config, dataset)
    return RunData(**vars(arranged), dataset=dataset, binarisation=binarisation)


def sum_up_data(data: RunData) -> str:
    """A checksum of all splits, by which data are known wherever they lie."""
    words = describe(data.dataset._replace(description="", table=None))
    return f"{zlib.crc32(words.encode()):08x}"


def _binarise(dataset: Dataset) -> Dataset:
    for name, x in dataset.splits.items():
        _check_grey(name, x)
    validation = binarise(dataset.validation, seed=0)
    test = binarise(dataset.test, seed=1)
    return dataset._replace(validation=validation, test=test)


def _is_grey(x: Tensor) -> bool:
    """Whether x has values in [0, 1], and some of them between 0 and 1."""
    if not x.is_floating_point() or not _is_within(x):
        return False
    return not all(torch.equal(block, block.round()) for block in x.split(CHECKED))


def _is_within(x: Tensor) -> bool:
    low, high = x.aminmax()
    return bool((low >= 0) & (high <= 1))  # NaN is neither


def _check_grey(name: str, x: Tensor) -> None:
    if not x.isfinite().all():
        raise ValueError(
            f"data: {name} holds values that are NaN or infinite. "
            "Remove those rows, or fill the values in."
        )
    if not _is_within(x):
        low, high = x.min().item(), x.max().item()
        raise ValueError(
            f"data: train has grey values in [0, 1], and {name} runs from {low:g} to {high:g}. "
            "Scale all splits to [0, 1], or use --likelihood normal."
        )
