"""Figures that several pairs share, and what they say."""

import math
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

import pyro_vae as pv
from pyro_vae.cli.stories.story import Figures, Shown
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.look import plots
from pyro_vae.supports import is_real

SAMPLES = "means of p(x|z), z drawn from p(z)"
DRAWS = 300  # of q(z|x), beside annealed draws of p(z|x)


def draw_samples(means: Tensor) -> Figure:
    """What the decoder expects at draws of the prior."""
    return plots.data(means, title=SAMPLES, columns=12)


def draw_posterior(shown: Shown, site: str, z: Tensor, *, on_grid: bool) -> Figures:
    """p(z|x) of six data: on a grid where that can be, otherwise by the annealed draws.

    Arguments:
        shown: What is drawn of.
        site: The latent.
        z: Draws of it, `[n, *event]`.
        on_grid: Whether it can be, see `is_real_vector`.
    """
    rows, picture = shown.take(6), shown.picture
    if on_grid:
        grid = pv.diagnostics.grid_posterior(shown.pair, *rows, bounds=_find_reach(z))
        return {"posterior": plots.posterior(grid, rows[0])}
    if picture is None or picture.annealed is None:
        return {}

    q = torch.stack([pv.reconstruct(shown.pair, *rows)[site] for _ in range(DRAWS)])
    return {"posterior": plots.posterior_draws(picture.annealed, q, site=site)}


def draw_plane(shown: Shown, z: Tensor, site: str = "x") -> Figures:
    """What the decoder expects over z of two real dimensions, where x is an image.

    Arguments:
        shown: What is drawn of.
        z: Draws of z, `[n, *event]`.
        site: The site of the images.
    """
    if shown.rows[0].dim() != 4:
        return {}

    bounds = (z.min().item(), z.max().item())
    axis = torch.linspace(*bounds, 17, device=z.device)
    points = torch.cartesian_prod(axis, axis).reshape(-1, *z.shape[1:])
    templates = [d[:1].expand(len(points), *d.shape[1:]) for d in shown.rows]
    decoded = pv.reconstruct(shown.pair, *templates, at={"z": points})[site]
    return {"decoded_grid": plots.decoded_grid(decoded, bounds)}


def is_real_vector(part: Conditional, sizes: Sequence[int]) -> bool:
    """Whether a part is over real vectors of one of these sizes."""
    support = part.support
    is_sized = math.prod(part.event_shape) in sizes
    return is_sized and support is not None and is_real(support)


def _find_reach(z: Tensor) -> tuple[float, float]:
    """Where nearly all draws lie, with a margin. Heavy tails would take all of the grid."""
    low, high = z.quantile(0.005).item(), z.quantile(0.995).item()
    return 1.25 * low - 0.25 * high, 1.25 * high - 0.25 * low
