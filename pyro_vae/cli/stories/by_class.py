"""Draws class by class, for pairs that know classes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.cli.classes import Classes
from pyro_vae.cli.stories.story import Drawn, Request
from pyro_vae.look import plots

COLUMNS = 10  # samples of each class, by default
TITLE = "means of p(x|z,y): a row for each class, a column for each z"


class ByClass(NamedTuple):
    """Draws of one class: the values by site, and the means of x."""

    values: dict[str, Tensor]
    means: Tensor


def draw_by_class(
    classes: Classes, request: Request, draw: Callable[[int, int], ByClass], title: str = TITLE
) -> Drawn:
    """Draws of each class that is asked for, with the same random numbers for each.

    Arguments:
        classes: The classes of the data.
        request: How many draws of each class, and of which classes.
        draw: Draws a number of times from the class of a number.
        title: The title of the figure.

    Raises:
        ValueError: if a class is asked for that the data do not have.
    """
    count = COLUMNS if request.draws is None else request.draws
    labels = _choose_labels(classes, request.given)
    seed = int(torch.randint(2**31, ()))
    drawn = []
    for label in labels:
        torch.manual_seed(seed)
        drawn.append(draw(classes.labels.index(label), count))

    y = torch.tensor(labels).repeat_interleave(count)
    values = {site: torch.cat([d.values[site] for d in drawn]) for site in drawn[0].values}
    means = torch.cat([d.means for d in drawn])
    return Drawn(values | {"y": y}, plots.classes(means, y, title=title, columns=count))


def _choose_labels(classes: Classes, given: list[int] | None) -> list[int]:
    if given is None:
        return classes.labels
    unknown = [label for label in given if label not in classes.labels]
    if unknown:
        known = ", ".join(map(str, classes.labels))
        raise ValueError(f"given: expected some of the labels {known}, got {unknown[0]}")
    return given
