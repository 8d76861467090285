"""Figures of sequences as rolls: time to the right, the numbers of a step upwards."""

from collections.abc import Mapping

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae.look.style import use_house_style


@use_house_style()
def sequences(
    rows: Mapping[str, Tensor],
    lengths: Tensor | None = None,
    *,
    given: int | None = None,
    title: str = "",
) -> Figure:
    """Draw sequences as rolls, a row of panels for each name: data above what is simulated.

    Numbers of a step that are the same throughout, keys that nobody plays, are left out at the top
    and the bottom.

    Arguments:
        rows: Sequences by name, `[n, T, *event]` each. There is a panel for each of the n.
        lengths: The steps of each sequence, `[n]`, the same for all names. What lies beyond them
            is not drawn.
        given: Draw a line after so many steps: what lies before was given to a forecast.
        title: The title.

    Raises:
        ValueError: if the names have other numbers of sequences.
    """
    rolls = {name: x.detach().float().cpu().unsqueeze(-1).flatten(2) for name, x in rows.items()}
    counts = {len(roll) for roll in rolls.values()}
    if len(counts) != 1:
        raise ValueError(f"rows: expected as many sequences for each name, got {sorted(counts)}")
    columns = counts.pop()
    numbers = _find_moving(list(rolls.values()))
    # one scale for all panels, and that of probabilities where they are such
    shown = torch.cat([roll.flatten() for roll in rolls.values()])
    limits = (min(0.0, shown.min().item()), max(1.0, shown.max().item()))
    figure = Figure(figsize=(2.6 * columns + 0.6, 1.7 * len(rolls) + 0.5), layout="constrained")
    axes = figure.subplots(len(rolls), columns, squeeze=False, sharex="col", sharey=True)

    figure.suptitle(title, fontsize="medium")
    for line, (name, roll) in zip(axes, rolls.items(), strict=True):
        line[0].set_ylabel(name, parse_math=False)
        for i, ax in enumerate(line):
            steps = roll.shape[1] if lengths is None else int(lengths[i])
            _draw_roll(ax, roll[i, :steps, numbers], numbers.start, limits)
            if given is not None:
                ax.axvline(given + 0.5, color="C2", linewidth=1)
    for ax in axes[-1]:
        ax.set_xlabel("step")
    return figure


def _find_moving(rolls: list[Tensor]) -> slice:
    """The numbers of a step from the first that varies to the last, or all where none does."""
    steps = torch.cat([roll.flatten(0, 1) for roll in rolls])
    moving = (steps != steps[0]).any(0).nonzero().flatten()
    if not len(moving):
        return slice(0, steps.shape[1])

    return slice(int(moving[0]), int(moving[-1]) + 1)


def _draw_roll(ax: Axes, roll: Tensor, lowest: int, limits: tuple[float, float]) -> None:
    """Draw one sequence `[T, numbers]`. Steps are counted from 1."""
    steps, count = roll.shape
    ax.imshow(
        roll.T.numpy(),
        cmap="gray_r",
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, steps + 0.5, lowest - 0.5, lowest + count - 0.5),
    )
