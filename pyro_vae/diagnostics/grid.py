"""Bayes' rule on a grid: the true posterior p(z | x) where z has one or two dimensions."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.weights.blocks import KEPT
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.traces import latent_values, quietly, trace
from pyro_vae.weights.weights import weigh


class GridPosterior(NamedTuple):
    """The true posterior of each datum on a grid of g points; exact up to the grid.

    Attributes:
        axes: The points of each dimension of z, one or two tensors `[size]`.
        log_posterior: log p(z | x), a density, `[g, n]`, the grid flattened with the first axis
            slowest.
        log_variational: log q(z | x), a density, `[g, n]`.
        log_evidence: log p(x), `[n]`.
        gap: KL(q(z | x) ‖ p(z | x)) summed on the grid, `[n]`.
        outside: The share of q(z | x) that lies off the grid, `[n]`; the rest is to be trusted
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
        size: Points in each dimension.
        bounds: The least and largest value of each dimension; by default draws of p(z) and q(z | x)
            with a margin.

    Returns:
        A `GridPosterior`, in nats, float64.

    Raises:
        ValueError: if the latent has more dimensions, or there are several.

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
    data = check_data(pair, data)
    n = data[0].shape[0]
    with quietly(pair):
        drawn = latent_values(trace(pair.guide, data, draws=20))
        prior = trace(pair.model, tuple(d[torch.arange(1000, device=d.device) % n] for d in data))
    names = list(drawn)
    numbers = drawn[names[0]][0, 0].numel()
    if len(names) != 1 or numbers > 2:
        raise ValueError(
            f"a grid needs one latent of one or two dimensions; this pair has {', '.join(names)}, the first of "
            f"{numbers}. Use log_evidence there."
        )
    (name,) = names
    event = drawn[name].shape[2:]
    if bounds is None:
        reach = torch.cat([drawn[name].flatten(), prior.nodes[name]["value"].flatten()])
        low, high = reach.min().item(), reach.max().item()
        bounds = (low - 0.15 * (high - low), high + 0.15 * (high - low))
    axis = torch.linspace(*bounds, size, device=data[0].device, dtype=drawn[name].dtype)
    points = torch.cartesian_prod(*[axis] * numbers).reshape(-1, 1, *event)
    cell = numbers * math.log((bounds[1] - bounds[0]) / (size - 1))

    log_p, log_q = [], []
    for z in points.split(max(1, KEPT // (n * max(1, data[0][0].numel())))):
        with quietly(pair):
            t = weigh(pair, data, z.shape[0], {name: z})
        log_p.append((t.log_likelihood + t.log_prior).double())
        log_q.append(t.log_variational.double())
    log_joint, log_q = torch.cat(log_p), torch.cat(log_q)
    log_evidence = log_joint.logsumexp(0) + cell
    log_posterior = log_joint - log_evidence
    mass = (log_q + cell).exp()
    gap = (mass * (log_q - log_posterior)).sum(0) / mass.sum(0)
    return GridPosterior(
        (axis,) * numbers, log_posterior, log_q, log_evidence, gap, (1 - mass.sum(0)).clamp(min=0)
    )
