"""Figures of tables: each column, as it came and as it is drawn."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_vae.look.style import COLOURS, use_house_style

if TYPE_CHECKING:
    from pandas import DataFrame

ACROSS = 4  # columns of the figure
MOST = 24  # columns of the table that are shown
BINS = 24
LEVELS = 8  # of a class that are shown, the most frequent ones


@use_house_style()
def columns(data: "DataFrame", drawn: "DataFrame") -> Figure:
    """Draw each column of a table beside that column of rows that a pair drew, as shares of rows.

    Arguments:
        data: The table, where missing cells are left out.
        drawn: Rows of the same columns, `table.simulate(pair, 1000)`.

    Raises:
        ValueError: if `drawn` has no column that the table has.
    """
    names = [name for name in data if name in drawn][:MOST]
    if not names:
        raise ValueError("drawn: expected rows of the columns of the table, got others")
    down = -(-len(names) // ACROSS)
    across = min(ACROSS, len(names))
    figure = Figure(figsize=(2.5 * across + 0.5, 2.1 * down + 0.4), layout="constrained")
    for ax, name in zip(figure.subplots(down, across, squeeze=False).flat, names, strict=False):
        _draw_column(ax, data[name].dropna(), drawn[name].dropna())
        ax.set_title(str(name), fontsize="medium")
        ax.set_yticks([])
    for ax in figure.axes[len(names) :]:
        ax.set_axis_off()

    handles, said = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, said, loc="outside lower center", ncols=2)
    return figure


def _draw_column(ax: Axes, data: Any, drawn: Any) -> None:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(data.dtype) and not is_bool_dtype(data.dtype):
        _draw_numbers(ax, data.to_numpy(float), drawn.to_numpy(float))
    else:
        _draw_levels(ax, data.astype(str), drawn.astype(str))


def _draw_numbers(ax: Axes, data: np.ndarray, drawn: np.ndarray) -> None:
    """Histograms over the range of the data. Draws beyond it are in the bins at its ends."""
    edges = np.linspace(data.min(), data.max(), BINS + 1).tolist()
    clipped = np.clip(drawn, edges[0], edges[-1])
    shares = [np.full(len(x), 1 / len(x)) for x in (data, clipped)]
    ax.hist(data, edges, weights=shares[0], color=COLOURS["data"], alpha=0.35, label="data")
    ax.hist(
        clipped,
        edges,
        weights=shares[1],
        color=COLOURS["prior"],
        histtype="step",
        linewidth=1.6,
        label="drawn",
    )


def _draw_levels(ax: Axes, data: Any, drawn: Any) -> None:
    shares = data.value_counts(normalize=True).head(LEVELS)
    other = drawn.value_counts(normalize=True).reindex(shares.index).fillna(0.0)
    place = np.arange(len(shares))
    ax.bar(place - 0.2, shares, 0.4, color=COLOURS["data"], alpha=0.35, label="data")
    ax.bar(place + 0.2, other, 0.4, color=COLOURS["prior"], label="drawn")
    ax.set_xticks(place, [level[:9] for level in shares.index], fontsize="small")
    if len(shares) > 3:
        ax.tick_params(axis="x", rotation=45)
