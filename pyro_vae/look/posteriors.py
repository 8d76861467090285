"""Figures of the true posterior p(z | x) of single data, with q(z | x) over it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from pyro_vae.diagnostics import Annealed, GridPosterior
from pyro_vae.look.images import draw_image
from pyro_vae.look.style import COLOURS, make_colour_map, use_house_style

TRUE, VARIATIONAL = COLOURS["posterior"], COLOURS["variational"]
SHARES = (0.95, 0.8, 0.5, 0.2)  # of the mass within each contour


@use_house_style()
def posterior(
    grid: GridPosterior, x: Tensor | None = None, *, rows: Sequence[int] = range(6)
) -> Figure:
    """Draw the true posterior p(z | x) of single data on a grid, with q(z | x) over it.

    Arguments:
        grid: What `diagnostics.grid_posterior` returned.
        x: The same data. Images are shown in the corner.
        rows: Which data.
    """
    rows = [row for row in rows if row < grid.log_posterior.shape[1]]
    shape = [len(axis) for axis in grid.axes]
    axes = [axis.cpu().numpy() for axis in grid.axes]
    has_images = x is not None and x.dim() == 4 and len(shape) == 2
    figure, panels = _panels(len(rows))

    for ax, row in zip(panels, rows, strict=False):
        p = _density(grid.log_posterior[:, row], shape)
        q = _density(grid.log_variational[:, row], shape)
        gap = grid.gap[row].item()
        ax.set_title(f"KL(q(z|x) ‖ p(z|x)) = {gap:.2f} nats", fontsize="small")
        if len(shape) == 1:
            _draw_curves(ax, axes[0], p, q)
        else:
            _draw_contours(ax, axes[0], axes[1], p, q)
        if x is not None and has_images:
            draw_image(ax.inset_axes((0.76, 0.74, 0.23, 0.25)), x[row])
    handles = [
        Patch(color=TRUE, alpha=0.6, label="true posterior p(z|x)"),
        Line2D([], [], color=VARIATIONAL, label="variational q(z|x)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


@use_house_style()
def posterior_draws(
    found: Annealed, q: Tensor, *, site: str = "z", rows: Sequence[int] = range(6)
) -> Figure:
    """Draw the true posterior p(z | x) of single data by annealed draws, with draws of q(z | x).

    Each datum is shown in two directions: those in which the draws of p lie furthest from the
    middle of q, in units of q's own standard deviation. If p and q were equal, both would be round
    clouds of the same width.

    Arguments:
        found: What `diagnostics.annealed_log_evidence` returned.
        q: Draws of q(z | x) for the same data, `[m, n, *event]`.
        site: The latent.
        rows: Which data.
    """
    p = found.z[site].cpu().double().flatten(2)
    q = q.cpu().double().flatten(2)
    weights = found.log_weights.softmax(0).cpu()
    count = min(p.shape[1], q.shape[1])
    rows = [row for row in rows if row < count]
    figure, panels = _panels(len(rows))

    for ax, row in zip(panels, rows, strict=False):
        _draw_clouds(ax, p[:, row], q[:, row], weights[:, row])
    handles = [
        _dot(TRUE, "annealed draws of the true posterior p(z|x), area by weight"),
        _dot(VARIATIONAL, "draws of q(z|x)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure with at least `count` panels, three in a row. Those beyond are empty."""
    columns = min(3, count)
    height = -(-count // columns)
    figure = Figure(figsize=(2.7 * columns, 2.6 * height + 0.4), layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(height, columns)).flatten())
    for ax in panels[count:]:
        ax.set_axis_off()
    return figure, panels


def _density(log_density: Tensor, shape: Sequence[int]) -> np.ndarray:
    return log_density.exp().reshape(shape).cpu().numpy()


def _draw_curves(ax: Axes, z: np.ndarray, p: np.ndarray, q: np.ndarray) -> None:
    is_seen = (p > 1e-3 * p.max()) | (q > 1e-3 * q.max())
    inside = z[is_seen]

    ax.fill_between(z, p, color=TRUE, alpha=0.4)
    ax.plot(z, q, color=VARIATIONAL)
    ax.set_xlim(inside[0], inside[-1])
    ax.set_xlabel("z")


def _draw_contours(ax: Axes, z0: np.ndarray, z1: np.ndarray, p: np.ndarray, q: np.ndarray) -> None:
    of_p, of_q = _levels(p), _levels(q)
    is_seen = (p > of_p[0] / 2) | (q > of_q[0] / 2)

    ax.contourf(z0, z1, p.T, levels=of_p, cmap=make_colour_map("posterior"), extend="max")
    ax.contour(z0, z1, q.T, levels=of_q[:-1], colors=VARIATIONAL, linewidths=1)
    _fit_limits(ax.set_xlim, z0[is_seen.any(1)], z0)
    _fit_limits(ax.set_ylim, z1[is_seen.any(0)], z1)
    ax.set_xlabel("z[0]")
    ax.set_ylabel("z[1]")


def _levels(density: np.ndarray) -> list[float]:
    """Heights above which lie 95, 80, 50 and 20 % of the mass, and one above all."""
    heights = np.sort(density.flatten())[::-1]
    top = heights[0]
    mass = np.cumsum(heights) / heights.sum()
    last = len(heights) - 1
    places = [int(np.searchsorted(mass, share)) for share in SHARES]
    levels = [heights[min(place, last)] for place in places]

    # matplotlib asks that they increase, even where a density has few different heights
    apart = np.array(levels) + np.arange(len(SHARES)) * 1e-12 * top
    return [*np.maximum.accumulate(apart), top * (1 + 1e-9)]


def _fit_limits(set_limits: Callable, inside: np.ndarray, axis: np.ndarray) -> None:
    margin = 0.25 * (inside[-1] - inside[0]) + (axis[1] - axis[0])
    set_limits(inside[0] - margin, inside[-1] + margin)


def _draw_clouds(ax: Axes, p: Tensor, q: Tensor, weights: Tensor) -> None:
    p, q = _standardise(p, q)
    p, q = _project(p, q, weights)
    area = 10 + 200 * weights

    ax.scatter(q[:, 0], q[:, 1], s=8, color=VARIATIONAL, alpha=0.35, linewidths=0)
    ax.scatter(p[:, 0], p[:, 1], s=area, color=TRUE, alpha=0.8, edgecolors="white", linewidths=0.5)
    ax.set_xlabel("standard deviations of q")
    ax.set_ylabel("standard deviations of q")
    ax.set_aspect("equal", adjustable="datalim")


def _standardise(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    centre = q.mean(0)
    scale = q.std(0).clamp(min=1e-12)

    return (p - centre) / scale, (q - centre) / scale


def _project(p: Tensor, q: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Both on the plane in which the weighted draws of p lie farthest apart."""
    weighted = weights[:, None].sqrt() * p
    _, _, directions = torch.linalg.svd(weighted, full_matrices=False)
    plane = directions[:2].T

    return p @ plane, q @ plane


def _dot(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", linestyle="", label=label)
