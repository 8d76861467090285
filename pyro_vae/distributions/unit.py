"""Values within bounds: the open unit interval, and angles."""

import math
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import constraints, transforms

from pyro_vae.distributions.sphere import VonMisesFisher


class LogitNormal(dist.TransformedDistribution):
    r"""A normal on the logit of x, for x in the open interval (0, 1).

    .. math:: \log p(x) = \log N(\mathrm{logit}\, x; \mu, \sigma^2) - \log x(1 - x)

    The density of an exact 0 or 1 is 0. (Aitchison & Shen, 1980)

    Arguments:
        loc, scale: Mean and standard deviation of the logit.

    Example:
        >>> p = LogitNormal(torch.tensor(0.0), torch.tensor(1.0))
        >>> x = torch.linspace(0, 1, 10_001)
        >>> round(torch.trapezoid(p.log_prob(x).exp(), x).item(), 4)
        1.0
    """

    arg_constraints: ClassVar[dict] = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None):
        super().__init__(
            dist.Normal(loc, scale), transforms.SigmoidTransform(), validate_args=validate_args
        )

    @property
    def loc(self) -> Tensor:
        return self.base_dist.loc

    @property
    def scale(self) -> Tensor:
        return self.base_dist.scale

    def expand(self, batch_shape: Size, _instance=None) -> "LogitNormal":
        return super().expand(batch_shape, self._get_checked_instance(LogitNormal, _instance))

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.where((value > 0) & (value < 1), super().log_prob(value), -math.inf)


class VonMises(dist.VonMises):
    r"""The von Mises, the normal of angles, on [-π, π].

    .. math:: \log p(x) = \kappa \cos(x - \mu) - \log 2\pi I_0(\kappa)

    torch's takes any real number, over which it is not normalised, loses its digits at a large κ,
    and draws by a rejection loop. This one draws as the `VonMisesFisher` of the circle does:
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
        circle = VonMisesFisher(
            torch.stack([self.loc.cos(), self.loc.sin()], -1), self.concentration
        )
        away = circle.draw_away(Size(sample_shape))
        sine = (away * (2 - away)).clamp(min=torch.finfo(away.dtype).tiny).sqrt()
        side = torch.where(torch.rand_like(away) < 0.5, -1.0, 1.0).to(away)
        return (self.loc + side * torch.atan2(sine, 1 - away) + math.pi).remainder(
            2 * math.pi
        ) - math.pi

    def log_prob(self, value: Tensor) -> Tensor:
        kappa = self.concentration
        return (
            -2 * kappa * ((value - self.loc) / 2).sin().square()
            - (2 * math.pi * torch.special.i0e(kappa)).log()
        )
