"""Bayes' rule on a grid: the true posterior p(z | x) where z has one or two dimensions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_interval, check_whole
from pyro_vae.diagnostics.aggregate import find_hidden
from pyro_vae.diagnostics.unconstrained import refuse_masked
from pyro_vae.weights.blocks import count_fitting, count_numbers
from pyro_vae.weights.intake import admit
from pyro_vae.weights.traces import latent_sites, latent_values, quietly, trace
from pyro_vae.weights.weights import Weights, join_weights, weigh

MARGIN = 0.15  # beyond the draws on each side, as a share of their range


@dataclass(frozen=True)
class GridPosterior:
    """The true posterior of each datum on a grid of g points. It is exact up to the grid.

    Attributes:
        axes: The points of each dimension of z, one or two tensors `[size]`.
        log_posterior: log p(z | x), a density, `[g, n]`. The grid is flattened with the first axis
            slowest.
        log_variational: log q(z | x), a density, `[g, n]`.
        log_evidence: log p(x), `[n]`.
        gap: KL(q(z | x) ‖ p(z | x)) summed on the grid, `[n]`.
        outside: The share of q(z | x) that lies off the grid, `[n]`. The rest is to be trusted
            where it is near 0.
    """

    axes: tuple[Tensor, ...]
    log_posterior: Tensor
    log_variational: Tensor
    log_evidence: Tensor
    gap: Tensor
    outside: Tensor


def grid_posterior(
    pair: nn.Module, *data: Tensor, size: int = 300, bounds: tuple[float, float] | None = None
) -> GridPosterior:
    r"""p(z | x) = p(x | z) p(z) / p(x) on a grid, with log p(x) and the gap of q, by summation.

    .. math:: p(x) \approx \sum_g p(x, z_g) \, |cell|

    Arguments:
        pair: A pair with one latent, over the reals, of one or two dimensions.
        data: x, `[n, *event]`, and what else the model takes.
        size: Points in each dimension, at least 2.
        bounds: The least and largest value of each dimension. By default they hold draws of p(z)
            and q(z | x) with a margin.

    Returns:
        A `GridPosterior`, in nats, float64.

    Raises:
        TypeError, ValueError: as `log_weights`; if the latent has more dimensions, or there are
            several, or it is masked in some rows.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> grid = grid_posterior(vae, torch.ones(5, 3), size=50)
        >>> grid.log_posterior.shape
        torch.Size([2500, 5])
        >>> bool((grid.gap >= 0).all())
        True
    """
    size = check_whole("size", size, least=2)
    bounds = None if bounds is None else check_interval("bounds", bounds)
    data = admit(pair, data)
    hidden = find_hidden(pair, data)
    if hidden is not None:
        raise ValueError(
            f"latent {hidden!r} is masked in some rows, so it has no posterior there; measure the "
            "data whose latents are all there"
        )

    q, p = _draw(pair, data)
    (name,) = q
    low, high = _find_bounds(q[name], p[name]) if bounds is None else bounds
    event = q[name].shape[2:]
    dimensions = event.numel()
    axis = torch.linspace(low, high, size, device=data[0].device, dtype=q[name].dtype)
    points = torch.cartesian_prod(*[axis] * dimensions).reshape(-1, 1, *event)
    log_cell = dimensions * math.log((high - low) / (size - 1))

    weights = weigh_points(pair, data, name, points)
    return _sum_grid((axis,) * dimensions, weights, log_cell)


def _draw(pair: nn.Module, data: tuple) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Draws of q(z | x) and of p(z) by site, of a pair with one latent of one or two dimensions."""
    rows = torch.arange(1000, device=data[0].device) % data[0].shape[0]
    with quietly(pair):
        guide_trace = trace(pair.guide, data, draws=20)
        model_trace = trace(pair.model, tuple(d[rows] for d in data))
    refuse_masked(latent_sites(model_trace), latent_sites(guide_trace))
    q, p = latent_values(guide_trace), latent_values(model_trace)

    first = next(iter(q.values()))
    numbers = first[0, 0].numel()
    if len(q) != 1 or numbers > 2:
        raise ValueError(
            f"a grid needs one latent of one or two dimensions; this pair has {', '.join(q)}, the "
            f"first of {numbers}. Use log_evidence there."
        )
    return q, p


def _find_bounds(*draws: Tensor) -> Sequence[float]:
    """The least and the largest of all draws, with a margin."""
    numbers = torch.cat([values.flatten() for values in draws])
    low, high = numbers.min().item(), numbers.max().item()
    margin = MARGIN * (high - low)
    return low - margin, high + margin


def weigh_points(pair: nn.Module, data: tuple, name: str, points: Tensor) -> Weights:
    """The terms of all points of the grid, `[g, n]`, float64."""
    fitting = count_fitting(data[0].shape[0] * count_numbers(data[0]))
    parts = []
    for z in points.split(fitting):
        with quietly(pair):
            parts.append(weigh(pair, data, z.shape[0], {name: z}))

    return join_weights(parts, 0)


def _sum_grid(axes: tuple[Tensor, ...], weights: Weights, log_cell: float) -> GridPosterior:
    """Bayes' rule: the joint density over its sum on the grid."""
    log_joint = weights.log_joint.double()
    log_variational = weights.log_variational.double()

    log_evidence = log_joint.logsumexp(0) + log_cell
    log_posterior = log_joint - log_evidence
    mass = (log_variational + log_cell).exp()
    gap = (mass * (log_variational - log_posterior)).sum(0) / mass.sum(0)

    return GridPosterior(
        axes=axes,
        log_posterior=log_posterior,
        log_variational=log_variational,
        log_evidence=log_evidence,
        gap=gap,
        outside=(1 - mass.sum(0)).clamp(min=0),
    )
