"""The data of a run, binarised where the likelihood asks for it."""

from typing import NamedTuple

from torch import Tensor

import pyro_vae as pv
from pyro_vae.cli.parts import Config
from pyro_vae.data import Dataset, binarise

NONE = "none"
DYNAMIC = "dynamic in training, once for validation and test"


class RunData(NamedTuple):
    """The data of a run, and in words how they are binarised."""

    dataset: Dataset
    binarisation: str


def load_data(config: Config) -> RunData:
    """Load the data of a configuration. Grey ones are binarised for a Bernoulli likelihood.

    Validation and test are binarised here, once. Training draws anew in every epoch.

    Raises:
        ValueError: if the data cannot be loaded, or only some of their splits are grey.
    """
    dataset = pv.data.load(config["data"])
    if config["likelihood"] != "bernoulli" or not _is_grey(dataset.train):
        return RunData(dataset, NONE)

    for name, x in dataset.splits.items():
        _check_grey(name, x)
    validation = binarise(dataset.validation, seed=0)
    test = binarise(dataset.test, seed=1)
    return RunData(dataset._replace(validation=validation, test=test), DYNAMIC)


def _is_grey(x: Tensor) -> bool:
    """Whether x has values in [0, 1], and some of them between 0 and 1."""
    is_binary = bool(((x == 0) | (x == 1)).all())
    return x.is_floating_point() and _is_within(x) and not is_binary


def _is_within(x: Tensor) -> bool:
    return bool(((x >= 0) & (x <= 1)).all())


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
