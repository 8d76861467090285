"""A normal fitted to p(z | x) of each datum, by the gradients of log p(x, z)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 128  # dimensions, above which a step by the curvature costs more than steps of Adam
LEAST_POINTS = 16  # points of each datum at a step
MOST_STEPS = 20
FLAT = 0.1  # the least new precision along a direction, as a share of the one before
RISE = 0.01  # nats, below which a step is the last

Score = Callable[[Tensor], Tensor]


class Normals(NamedTuple):
    """A normal over vectors for each datum, float64.

    Attributes:
        mean: `[n, d]`.
        tril: The Cholesky factor of its covariance, `[n, d, d]`.
    """

    mean: Tensor
    tril: Tensor

    def block(self, columns: slice) -> "Normals":
        """Some of the dimensions, given the others at their means."""
        precision = torch.cholesky_inverse(self.tril)[:, columns, columns]
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision))
        return Normals(self.mean[:, columns], torch.linalg.cholesky(covariance))

    def place(self, noise: Tensor) -> Tensor:
        """The vectors `[k, n, d]` of standard normal noise, `[k, n or 1, d]`."""
        return self.mean + (self.tril @ noise.unsqueeze(-1)).squeeze(-1)

    def log_volume(self) -> Tensor:
        """The logarithm of the determinant of the Cholesky factor, `[n]`."""
        return self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def fit_normal(score: Score, mean: Tensor, spread: Tensor) -> Normals:
    r"""Climb to the normal of the highest ELBO, by natural gradients.

    .. math:: \Lambda \leftarrow (1 - \rho) \Lambda - \rho \, E_q[\nabla^2 \log p(x, u)], \qquad
        \mu \leftarrow \mu + \rho \, \Lambda^{-1} E_q[\nabla \log p(x, u)]

    The expectations are averages over points that lie symmetrically about the mean, and the
    curvature is that of a line through the gradients. So one step finds the posterior where it is
    normal, however narrow. A step that does not raise the ELBO at other points is taken back, and
    the next one is shorter. Each datum goes at its own pace.

    (Opper & Archambeau, 2009; Khan & Nielsen, 2018)

    Arguments:
        score: log p(x, u), `[k, n]`, of vectors u, `[k, n, d]`, differentiable.
        mean, spread: Where it starts, `[n, d]`, unless the standard normal has a higher ELBO.

    Example:
        >>> p = torch.distributions.Normal(torch.tensor([3.0, -1.0]), torch.tensor([0.1, 2.0]))
        >>> found = fit_normal(lambda u: p.log_prob(u).sum(-1), torch.zeros(5, 2), torch.ones(5, 2))
        >>> torch.allclose(found.mean[0], p.loc.double(), atol=1e-4)
        True
    """
    dtype = mean.dtype
    found = _choose_start(score, mean, spread)
    pace = torch.ones_like(found.mean[:, 0])

    for _ in range(MOST_STEPS):
        points = _spread_points(found.mean)
        slope, curvature = _find_slopes(lambda u: score(u.to(dtype)), found, points)
        new = _step(found, slope, curvature, pace)

        fresh = _spread_points(found.mean)
        bound = _score_bound(score, new, fresh, dtype)
        rise = bound - _score_bound(score, found, fresh, dtype)
        is_better = (rise > 0) & bound.isfinite()
        found = _select(is_better, new, found)
        if not ((rise > RISE) | (~is_better & (pace > FLAT))).any():
            break
        pace = torch.where(is_better, (2 * pace).clamp(max=1.0), pace / 4)
    return found


def _choose_start(score: Score, mean: Tensor, spread: Tensor) -> Normals:
    """The normal of these moments, or the standard normal where that has the higher ELBO."""
    start = Normals(mean.double(), spread.double().diag_embed())
    standard = Normals(torch.zeros_like(start.mean), torch.ones_like(start.mean).diag_embed())
    points = _spread_points(start.mean)
    bounds = [_score_bound(score, normals, points, mean.dtype) for normals in (standard, start)]

    return _select(bounds[0] > bounds[1], standard, start)


def _select(where: Tensor, new: Normals, old: Normals) -> Normals:
    """New normals for the data where it holds, `[n]`, and old ones elsewhere."""
    return Normals(
        mean=torch.where(where[:, None], new.mean, old.mean),
        tril=torch.where(where[:, None, None], new.tril, old.tril),
    )


def _spread_points(mean: Tensor) -> Tensor:
    """Noise `[k, 1, d]` of mean 0 and covariance 1, along random directions and their opposites."""
    d = mean.shape[1]
    count = math.ceil(LEAST_POINTS / (2 * d))
    directions, _ = torch.linalg.qr(mean.new_empty(count, d, d).normal_())
    points = d**0.5 * directions.reshape(-1, 1, d)
    return torch.cat([points, -points])


def _find_slopes(score: Score, found: Normals, points: Tensor) -> tuple[Tensor, Tensor]:
    """E_q of the gradient, `[n, d]`, and of minus the curvature, `[n, d, d]`, of log p(x, u).

    They are in units of the normal.
    """
    u = found.place(points).requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(score(u).sum(), u)
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    gradient = (found.tril.mT @ gradient.unsqueeze(-1)).squeeze(-1)
    product = torch.einsum("kd,kne->nde", points[:, 0], gradient) / len(points)

    return gradient.mean(0), -(product + product.mT) / 2


def _step(found: Normals, slope: Tensor, curvature: Tensor, pace: Tensor) -> Normals:
    """The normal after a step of each datum's pace, `[n]`. It never widens without end."""
    values, axes = torch.linalg.eigh(curvature)
    pace = pace.unsqueeze(-1)
    precision = (1 - pace) + pace * values.clamp(min=FLAT)
    along = (axes.mT @ slope.unsqueeze(-1)).squeeze(-1)
    shift = axes @ (pace * along / precision).unsqueeze(-1)
    stretch = found.tril @ axes * precision.rsqrt().unsqueeze(-2)
    _, upper = torch.linalg.qr(stretch.mT)
    signs = upper.diagonal(dim1=-2, dim2=-1).sign()

    return Normals(
        mean=found.mean + (found.tril @ shift).squeeze(-1),
        tril=upper.mT * signs.unsqueeze(-2),
    )


def _score_bound(score: Score, found: Normals, points: Tensor, dtype: torch.dtype) -> Tensor:
    """The ELBO less a constant, `[n]`. A density that is infinite somewhere is no gain."""
    with torch.no_grad():
        each = score(found.place(points).to(dtype)).double()
    return each.nan_to_num(-math.inf, -math.inf, -math.inf).mean(0) + found.log_volume()
