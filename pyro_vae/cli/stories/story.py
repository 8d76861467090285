"""What the command line knows of a pair: how to build, show, measure and sample it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.cli.data import Arranged, Rows, RunData
from pyro_vae.cli.parts import Config
from pyro_vae.data import Dataset
from pyro_vae.diagnostics import Picture
from pyro_vae.look.findings import Findings
from pyro_vae.objectives.objective import Loss

Figures = dict[str, Figure]
NUM_SAMPLES = 1000  # draws of q(z|x) for each datum after training, by default


class Shown(NamedTuple):
    """What figures are drawn of.

    Attributes:
        pair: The trained pair.
        rows: The first test data, x first, on the device of the pair.
        labels: Their labels, or None.
        data: All data of the run.
        picture: What was measured, if anything was.
    """

    pair: Any
    rows: Rows
    labels: Tensor | None
    data: RunData
    picture: Picture | None

    def take(self, count: int) -> Rows:
        """So many of the rows."""
        return tuple(d[:count] for d in self.rows)


class Drawn(NamedTuple):
    """Draws of a pair: the values by site, a figure of them, and of tables a frame."""

    values: dict[str, Tensor]
    figure: Figure
    frame: Any = None


class Request(NamedTuple):
    """What `sample` is asked for.

    Attributes:
        draws: How many, or None for the number that the pair is shown by.
        given: The classes that are asked for, or None for all.
    """

    draws: int | None
    given: list[int] | None


ALL = Request(draws=None, given=None)


def find_nothing(pair: nn.Module, data: RunData, rows: Rows, picture: Picture) -> Findings:
    """No numbers beside the picture."""
    return {}


def load_dataset(config: Config) -> Dataset:
    """The data set that a configuration names."""
    return pv.data.load(config["data"])


def describe_nothing(data: RunData) -> str:
    """No more words on the data."""
    return ""


def complete_nothing(pair: Any, data: RunData) -> None:
    """No missing cells to fill in."""


def start_at_random(config: Config, data: RunData, pair: nn.Module, options: dict) -> None:
    """Leave the pair as it was built."""


def add_nothing(config: Config, objective: pv.Objective) -> Loss:
    """The objective as it is."""
    return objective


@dataclass(frozen=True, kw_only=True)
class Story:
    """A pair as the command line knows it.

    Attributes:
        how: The options that ask for it.
        options: The options that not every pair has, with their defaults.
        load: Loads the data set.
        arrange: Arranges a data set into what the pair is called with.
        build: Makes the pair of a configuration and of data that are arranged.
        describe: Says more of the data before training.
        draw: Draws the figures that are its own, by name.
        sample: Draws from p.
        complete: Fills in missing cells, as a frame, or None where there are none.
        measure: Measures what the picture does not hold, on the rows that it is of.
        start: Brings the pair to where training begins well, with options of `fit`.
        weigh: Adds the terms to an objective that are the pair's own.
        refused: Why an objective does not go with the pair, by the name of the objective.
        is_refitted: Whether its q can be fitted to each x alone, which splits the gap.
    """

    how: str
    options: Mapping[str, Any]
    arrange: Callable[[Config, Dataset], Arranged]
    build: Callable[[Config, RunData], nn.Module]
    draw: Callable[[Shown], Figures]
    sample: Callable[[Any, RunData, Request], Drawn]
    load: Callable[[Config], Dataset] = load_dataset
    describe: Callable[[RunData], str] = describe_nothing
    complete: Callable[[Any, RunData], Any] = complete_nothing
    measure: Callable[[Any, RunData, Rows, Picture], Findings] = find_nothing
    start: Callable[[Config, RunData, Any, dict[str, Any]], None] = start_at_random
    weigh: Callable[[Config, pv.Objective], Loss] = add_nothing
    refused: Mapping[str, str] = field(default_factory=dict)
    is_refitted: bool = True


def arrange_plainly(config: Config, dataset: Dataset) -> Arranged:
    """x alone."""
    return Arranged(train=(dataset.train,), validation=(dataset.validation,), test=(dataset.test,))


def make_template(pair: nn.Module, data: RunData, count: int) -> Tensor:
    """As many rows of zeros as x shall have, on the device of the pair."""
    x = data.test[0]
    device = next(pair.parameters()).device
    return torch.zeros(count, *x.shape[1:], dtype=x.dtype, device=device)


def refuse_given(request: Request) -> None:
    """Raise a ValueError if classes are asked for."""
    if request.given is not None:
        raise ValueError(
            "given: the pair of this run knows no classes; it goes with --condition labels, "
            "--pair labelled and --pair multimodal"
        )
