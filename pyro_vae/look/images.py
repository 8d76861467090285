"""Figures of data: rows of images or lines, and what the decoder expects over a square of z."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from pyro_vae.arguments import as_tensor, check_type, check_whole
from pyro_vae.look.style import use_house_style

FRAME: dict[str, Any] = {"fill": False, "color": "0.6", "linewidth": 0.5, "clip_on": False}
GAP = 0.1  # between data of a row, as a share of their width


@use_house_style()
def data(x: Tensor, *, title: str = "", columns: int = 10) -> Figure:
    """Draw data side by side: images as images, anything else as one line each.

    Arguments:
        x: `[n, *event]`. Images are `[n, channels, height, width]`, with one or three channels.
        title: The title.
        columns: How many in a row.
    """
    x, columns = as_tensor("x", x), check_whole("columns", columns)
    rows = [x[start : start + columns] for start in range(0, len(x), columns)]
    return _draw_rows(rows, title)


@use_house_style()
def classes(x: Tensor, labels: Tensor, *, title: str = "", columns: int = 10) -> Figure:
    """Draw a row of data, or of draws, for each class or cluster. The row bears its number.

    Arguments:
        x: `[n, *event]`, `simulate(pair, x, labels)["x"]` for example.
        labels: The class or cluster of each, whole numbers `[n]`.
        title: The title.
        columns: How many of each at most. The first ones are drawn.

    Raises:
        ValueError: if there are no data, or not one label for each.
    """
    x, labels = as_tensor("x", x), as_tensor("labels", labels)
    columns = check_whole("columns", columns)
    if labels.shape != (len(x),) or not len(x):
        raise ValueError(
            f"labels: expected one for each of the data, and data, got {list(labels.shape)} for "
            f"{len(x)} data"
        )
    x, labels = x.cpu(), labels.cpu()
    names = labels.unique().tolist()
    rows = [x[labels == name][:columns] for name in names]

    return _draw_rows(rows, title, names=[str(name) for name in names])


@use_house_style()
def reconstructions(x: Tensor, reconstructed: Tensor) -> Figure:
    """Draw data above their reconstructions.

    Arguments:
        x: `[n, *event]`.
        reconstructed: `reconstruct(pair, x)["x"]`, of the same shape.
    """
    title = "data, and the mean of p(x|z) at a draw z of q(z|x)"
    x, reconstructed = as_tensor("x", x), as_tensor("reconstructed", reconstructed)
    return _draw_rows([x, reconstructed], title, names=["x", "E p(x|z)"])


@use_house_style()
def rows(x: Mapping[str, Tensor], *, title: str = "") -> Figure:
    """Draw rows of data, each with its name: a row for each class or cluster, for example.

    Arguments:
        x: By name, `[n, *event]`. Rows may be of different lengths.
        title: The title.
    """
    check_type("x", x, Mapping, "rows by their names")
    return _draw_rows(list(x.values()), title, names=list(x))


@use_house_style()
def decoded_grid(x: Tensor, bounds: tuple[float, float]) -> Figure:
    """Draw the mean of p(x | z) over a square of a two-dimensional z.

    Arguments:
        x: Images `[size * size, channels, height, width]`, the first coordinate of z slowest.
        bounds: The least and the largest value of each coordinate.
    """
    figure = Figure(figsize=(6, 6), layout="constrained")
    ax = figure.subplots()

    ax.imshow(_tile(x), cmap="gray_r", extent=(*bounds, *bounds), vmin=0, vmax=1)
    ax.set_title("mean of p(x|z) over z")
    ax.set_xlabel("z[0]")
    ax.set_ylabel("z[1]")
    return figure


def draw_image(ax: Axes, image: Tensor) -> None:
    """Draw one image `[channels, height, width]`, without ticks. Ink is 1."""
    _show(ax, _pixels(image[None])[0])
    ax.spines[:].set_visible(True)
    ax.set_xticks([])
    ax.set_yticks([])


def _pixels(x: Tensor) -> np.ndarray:
    """Images as matplotlib takes them, `[n, height, width, channels]` in [0, 1]."""
    x = x.detach().float().cpu().clamp(0, 1)
    return x.permute(0, 2, 3, 1).numpy()


def _tile(x: Tensor) -> np.ndarray:
    """One image of all images: z[0] runs to the right, z[1] upwards."""
    size = int(len(x) ** 0.5)
    height, width = x.shape[2:]
    tiles = _pixels(x).reshape(size, size, height, width, -1)
    upwards = np.flip(tiles.transpose(1, 0, 2, 3, 4), 0)
    canvas = upwards.transpose(0, 2, 1, 3, 4)
    return canvas.reshape(size * height, size * width, -1).squeeze()


def _draw_rows(rows: Sequence[Tensor], title: str, names: Sequence[str] = ()) -> Figure:
    columns = max(map(len, rows), default=0)
    if not columns:
        raise ValueError("x: expected data to draw, got none")
    size = (max(4.0, 0.9 * columns), 0.95 * len(rows) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]

    figure.suptitle(title, fontsize="medium")
    # one panel for a row, because a panel for each datum takes seconds to lay out
    for ax, row in zip(axes, rows, strict=True):
        _draw_row(ax, row, columns)
    for ax, name in zip(axes, names, strict=False):
        place = {"ha": "right", "va": "center", "transform": ax.transAxes}
        ax.text(-0.01, 0.5, name, parse_math=False, **place)
    return figure


def _draw_row(ax: Axes, row: Tensor, columns: int) -> None:
    ax.set_axis_off()
    if row.dim() == 4 and row.shape[1] in (1, 3):
        _draw_images(ax, row, columns)
    else:
        _draw_lines(ax, row.unsqueeze(-1).flatten(1), columns)


def _draw_images(ax: Axes, row: Tensor, columns: int) -> None:
    pixels = _pixels(row)
    height, width = pixels.shape[1:3]
    step = (1 + GAP) * width

    for place, image in enumerate(pixels):
        left = place * step
        _show(ax, image, extent=(left, left + width, height, 0))
        ax.add_patch(Rectangle((left, 0), width, height, **FRAME))
    ax.set_xlim(0, columns * step)
    ax.set_ylim(height, 0)


def _draw_lines(ax: Axes, row: Tensor, columns: int) -> None:
    step = (1 + GAP) * row.shape[1]
    numbers = np.arange(row.shape[1])
    for place, line in enumerate(row.detach().float().cpu().numpy()):
        ax.plot(place * step + numbers, line, color="C0", linewidth=1)
    ax.set_xlim(0, columns * step)


def _show(ax: Axes, pixels: np.ndarray, **options: Any) -> None:
    """Show one image. Ink is 1."""
    is_grey = pixels.shape[-1] == 1
    shown = pixels.squeeze(-1) if is_grey else pixels
    ax.imshow(shown, cmap="gray_r", vmin=0, vmax=1, **options)
