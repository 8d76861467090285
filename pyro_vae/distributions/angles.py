"""Angles."""

import math

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import constraints

from pyro_vae.distributions.sphere import VonMisesFisher
from pyro_vae.distributions.zonal import find_sine


class VonMises(dist.VonMises):
    r"""The von Mises, the normal distribution of angles, on [-π, π].

    .. math:: \log p(x) = \kappa \cos(x - \mu) - \log 2\pi I_0(\kappa)

    torch's takes any real number, over which it is not normalised. It loses its digits at a large
    κ, and it draws by a rejection loop. This one draws as the `VonMisesFisher` of the circle does:
    reparametrised, and without a loop that would stand in the way of an export.

    Arguments:
        loc: μ, in radians.
        concentration: κ.

    Example:
        >>> p = VonMises(torch.tensor(3.0), torch.tensor(4.0))
        >>> x = torch.linspace(-math.pi, math.pi, 10_001)
        >>> round(torch.trapezoid(p.log_prob(x).exp(), x).item(), 4)
        1.0
    """

    support = constraints.interval(-math.pi, math.pi)
    has_rsample = True

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        direction = torch.stack([self.loc.cos(), self.loc.sin()], -1)
        circle = VonMisesFisher(direction, self.concentration)

        away = circle.draw_away(Size(sample_shape))
        side = torch.where(torch.rand_like(away) < 0.5, -1.0, 1.0).to(away)
        angle = self.loc + side * torch.atan2(find_sine(away), 1 - away)

        return (angle + math.pi).remainder(2 * math.pi) - math.pi

    def log_prob(self, value: Tensor) -> Tensor:
        kappa = self.concentration
        log_ratio = -2 * kappa * ((value - self.loc) / 2).sin().square()  # to the mode
        log_normaliser = (2 * math.pi * torch.special.i0e(kappa)).log()

        return log_ratio - log_normaliser
