"""A pair on its plane of z, computed beforehand: what the page of `explore` is made from."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal, Normal
from tqdm.auto import tqdm

from pyro_vae.diagnostics.elbo import elbo
from pyro_vae.diagnostics.estimate import Estimate, average_data, subtract
from pyro_vae.diagnostics.free import unwrap
from pyro_vae.diagnostics.grid import grid_posterior, weigh_points
from pyro_vae.weights.draws import reconstruct
from pyro_vae.weights.intake import admit
from pyro_vae.weights.traces import latent_sites, latent_values, quietly, trace

SIZE = 121  # points of the grid in each direction
CLOSE = 0.005  # nats, below which log p(x) is that of a finer grid
SMOOTH = 0.03  # nats, below which log p(x | z) between points is a cubic through them
SPREADS = 4.0  # standard deviations of q that the plane holds
MARGIN = 0.1  # beyond that on each side, as a share
PRIOR_DRAWS = 1000
FINEST = 300  # points in each direction for log p(x), where that grid is too coarse
BLOCK = 25  # data that are measured at a time
NUM_SAMPLES = 500  # draws of q(z | x) for a mean ELBO


@dataclass(frozen=True)
class Bells:
    """Normal distributions over the plane, one for each of n data.

    Attributes:
        loc: The centres, `[n, 2]`.
        scale: The standard deviations, `[n, 2]`.
        correlation: Of the two coordinates, `[n]`.
    """

    loc: Tensor
    scale: Tensor
    correlation: Tensor


@dataclass(frozen=True)
class Means:
    """Means over data, each with its Monte Carlo error, in nats.

    Attributes:
        log_evidence: log p(x), by a grid.
        elbo: The ELBO.
        gap: KL(q(z | x) ‖ p(z | x)), their difference.
        reconstruction: E_q log p(x | z).
        cost: KL(q(z | x) ‖ p(z)).
    """

    log_evidence: Estimate
    elbo: Estimate
    gap: Estimate
    reconstruction: Estimate
    cost: Estimate


@dataclass(frozen=True)
class Plane:
    """What is known of a pair with two latents.

    Attributes:
        low, high: The least and the largest value of both coordinates.
        log_prior: log p(z) on the grid, `[size, size]`, the first coordinate slowest.
        log_likelihood: log p(x | z) of each image on the grid, `[n, size, size]`.
        bells: q(z | x) of the images.
        many: q(z | x) of the data that q(z) is the mean of.
        means: Means over the images and others beside them.
        is_fine: Whether the grid gives log p(x) to 0.005 nats and log p(x | z) between its points
            to 0.03. It does not where p(z | x) is narrow, or the plane must be large.
        is_round: Whether p(z) is the standard normal.
    """

    low: float
    high: float
    log_prior: Tensor
    log_likelihood: Tensor
    bells: Bells
    many: Bells
    means: Means
    is_fine: bool
    is_round: bool


def compute_plane(
    pair: nn.Module, images: Tensor, many: Tensor, measured: Tensor, bar: tqdm
) -> Plane:
    """Compute all of it.

    Arguments:
        pair: A pair with one latent of two real dimensions, and a normal q(z | x).
        images: The data that can be chosen on the page, `[n, *event]`.
        many: The data that q(z) is the mean of.
        measured: The data of the means.
        bar: The progress bar, which counts images and what is measured.

    Raises:
        TypeError, ValueError: as `log_weights`; if the pair has another latent, or another q.
    """
    (images,) = admit(pair, (images,))
    bells, spread = read_bells(pair, images), read_bells(pair, many)
    low, high = _find_bounds(pair, images, bells)
    log_prior, log_likelihood = _score_grid(pair, images, low, high, 2 * SIZE - 1)
    bar.update(len(images))
    coarse = log_prior[::2, ::2]
    is_fine = _is_fine(log_prior, log_likelihood, low, high)

    return Plane(
        low=low,
        high=high,
        log_prior=coarse,
        log_likelihood=log_likelihood[:, ::2, ::2],
        bells=bells,
        many=spread,
        means=measure_means(pair, measured, SIZE if is_fine else FINEST, bar),
        is_fine=is_fine,
        is_round=_is_round(coarse, low, high),
    )


def read_bells(pair: nn.Module, x: Tensor) -> Bells:
    """q(z | x) of each datum, from one run of the guide.

    Raises:
        ValueError: if there is more than one latent, it has not two dimensions, or q(z | x) is not
            normal.
    """
    with quietly(pair):
        sites = latent_sites(trace(pair.guide, (x,)))
    shapes = {name: tuple(site["value"].shape[1:]) for name, site in sites.items()}
    if list(shapes.values()) != [(2,)]:
        has = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"pair: the explorer shows a plane of z, so it needs one latent of two dimensions; "
            f"this pair has {has or 'none'}. Train one with two, --latent 2."
        )
    (site,) = sites.values()
    q, _ = unwrap(site["fn"])
    if not isinstance(q, Normal | MultivariateNormal | LowRankMultivariateNormal):
        raise ValueError(
            f"pair: the explorer needs a normal q(z|x), whose centre and width can be dragged; "
            f"this pair has {type(q).__name__}. Train one with pv.Normal or pv.MultivariateNormal."
        )
    if isinstance(q, Normal):
        return Bells(q.loc, q.scale.expand_as(q.loc), torch.zeros_like(q.loc[:, 0]))

    scale = q.variance.sqrt()
    return Bells(q.loc, scale, q.covariance_matrix[:, 0, 1] / scale.prod(-1))


def measure_means(pair: nn.Module, x: Tensor, size: int, bar: tqdm) -> Means:
    """Means over data: log p(x) by a grid of that size, the ELBO and its terms by draws."""
    bound = elbo(pair, x, num_samples=NUM_SAMPLES, progress=False)
    parts = []
    for rows in x.split(BLOCK):
        parts.append(grid_posterior(pair, rows, size=size).log_evidence)
        bar.update(len(rows))
    exact = torch.cat(parts)
    log_evidence = Estimate(exact, torch.zeros_like(exact))

    return Means(
        log_evidence=average_data(log_evidence),
        elbo=average_data(bound),
        gap=average_data(subtract(log_evidence, bound)),
        reconstruction=average_data(bound.reconstruction),
        cost=average_data(bound.kl),
    )


def decode(pair: nn.Module, template: Tensor, low: float, high: float, size: int) -> Tensor:
    """The mean of p(x | z) over the plane, `[size * size, *event]`, the first coordinate slowest.

    Arguments:
        pair: The pair.
        template: Data, whose values are ignored.
        low, high: The least and the largest value of both coordinates.
        size: Points in each direction.
    """
    points = _place_points(low, high, size).to(template)
    x = template[:1].expand(len(points), *template.shape[1:])
    with quietly(pair):
        (name,) = latent_sites(trace(pair.guide, (template[:1],)))
    return reconstruct(pair, x, at={name: points})["x"]


def _find_bounds(pair: nn.Module, images: Tensor, bells: Bells) -> tuple[float, float]:
    """A square that holds draws of p(z) and q(z | x) of the images, with a margin."""
    template = images[:1].expand(PRIOR_DRAWS, *images.shape[1:])
    with quietly(pair):
        (z,) = latent_values(trace(pair.model, (template,))).values()
    least = torch.cat([z, bells.loc - SPREADS * bells.scale]).min().item()
    most = torch.cat([z, bells.loc + SPREADS * bells.scale]).max().item()
    margin = MARGIN * (most - least)
    return least - margin, most + margin


def _place_points(low: float, high: float, size: int) -> Tensor:
    axis = torch.linspace(low, high, size)
    return torch.cartesian_prod(axis, axis)


def _score_grid(
    pair: nn.Module, images: Tensor, low: float, high: float, size: int
) -> tuple[Tensor, Tensor]:
    """log p(z), `[size, size]`, and log p(x | z), `[n, size, size]`, on the grid."""
    with quietly(pair):
        (name,) = latent_sites(trace(pair.guide, (images,)))
    points = _place_points(low, high, size).to(images.device)[:, None]
    weights = weigh_points(pair, (images,), name, points)
    log_prior = weights.log_prior[:, 0].double().reshape(size, size)
    log_likelihood = weights.log_likelihood.double().T.reshape(-1, size, size)
    return log_prior.cpu(), log_likelihood.cpu()


def sum_evidence(log_prior: Tensor, log_likelihood: Tensor, low: float, high: float) -> Tensor:
    """log p(x) of each image by a sum over the grid, `[n]`."""
    log_cell = 2 * math.log((high - low) / (len(log_prior) - 1))
    return (log_likelihood + log_prior).flatten(1).logsumexp(1) + log_cell


def _is_fine(log_prior: Tensor, log_likelihood: Tensor, low: float, high: float) -> bool:
    """Whether every second point of a grid says what all of them say."""
    fine = sum_evidence(log_prior, log_likelihood, low, high)
    coarse = sum_evidence(log_prior[::2, ::2], log_likelihood[:, ::2, ::2], low, high)
    error = (fine - coarse).abs().max().item()

    posterior = (log_likelihood + log_prior).flatten(1).softmax(1).view_as(log_likelihood)
    along = _find_error(log_likelihood, posterior)
    across = _find_error(log_likelihood.transpose(1, 2), posterior.transpose(1, 2))
    return error < CLOSE and max(along, across) < SMOOTH


def _find_error(values: Tensor, posterior: Tensor) -> float:
    """How far a cubic through every second point is from the points between, on average.

    The average is over the posterior, and the largest of the images is taken.
    """
    known = values[:, ::2, ::2]
    between = (9 * (known[:, 1:-2] + known[:, 2:-1]) - known[:, :-3] - known[:, 3:]) / 16
    weights = posterior[:, 3:-3:2, ::2]
    errors = weights * (between - values[:, 3:-3:2, ::2]).abs()
    return (errors.sum((1, 2)) / weights.sum((1, 2))).max().item()


def _is_round(log_prior: Tensor, low: float, high: float) -> bool:
    """Whether p(z) is the standard normal."""
    points = _place_points(low, high, len(log_prior)).double()
    expected = -points.square().sum(1) / 2 - math.log(2 * math.pi)
    return torch.allclose(log_prior.flatten(), expected, atol=1e-3)
