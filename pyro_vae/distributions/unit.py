"""Values between 0 and 1."""

import math
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import constraints, register_kl, transforms

from pyro_vae.distributions.simplex import Dirichlet


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
        inside = (value > 0) & (value < 1)

        return torch.where(inside, super().log_prob(value), -math.inf)


class Beta(dist.Beta):
    """The beta, drawn as two proportions of our `Dirichlet`.

    Its draws are never exactly zero or one, and they can be exported.

    Example:
        >>> x = Beta(torch.tensor(0.01), torch.tensor(0.01)).sample((1000,))
        >>> bool(((x > 0) & (x < 1)).all())
        True
    """

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        alpha = torch.stack([self.concentration1, self.concentration0], dim=-1)
        proportions = Dirichlet(alpha, validate_args=False).rsample(sample_shape)
        x = proportions[..., 0]

        return x.clamp(max=1 - torch.finfo(x.dtype).eps)


class ContinuousBernoulli(dist.ContinuousBernoulli):
    r"""The continuous Bernoulli on [0, 1], normalised and sampled exactly at any logit.

    .. math:: \log p(x) = \eta x - \log \frac{e^\eta - 1}{\eta}, \qquad \eta \text{ the logit}

    torch's clamps the probability inside the normaliser only. Beyond a logit of about 16 its
    density no longer integrates to one, and images with exactly black pixels lead there.
    (Loaiza-Ganem & Cunningham, 2019)

    Near a logit of 0 each quantity is its Taylor series, because the closed form is 0/0 there.

    Example:
        >>> d = ContinuousBernoulli(logits=torch.tensor(50.0))
        >>> x = torch.linspace(0, 1, 100_001)
        >>> round(torch.trapezoid(d.log_prob(x).exp(), x).item(), 4)
        1.0
    """

    def _size(self, limit: float) -> tuple[Tensor, Tensor, Tensor]:
        """|η|, whether it is below the limit, and |η| with ones where it is."""
        a = self.logits.abs()
        small = a < limit
        large = torch.where(small, torch.ones_like(a), a)
        return a, small, large

    def _mirror(self, value: Tensor) -> Tensor:
        """1 - value where η > 0: formulas below are those of a logit of at most 0."""
        return torch.where(self.logits > 0, 1 - value, value)

    def _cont_bern_log_norm(self) -> Tensor:
        a, small, large = self._size(0.1)
        series = math.log(2) + a**2 / 12 - 7 * a**4 / 1440
        log_sum = large.log() + torch.log1p(torch.exp(-large))
        exact = log_sum - torch.log(-torch.expm1(-large))

        return torch.where(small, series, exact)

    @property
    def mean(self) -> Tensor:
        _, small, large = self._size(0.1)
        series = 0.5 + self.logits / 12 - self.logits**3 / 720
        low = 1 / large + torch.exp(-large) / torch.expm1(-large)

        return torch.where(small, series, self._mirror(low))

    @property
    def variance(self) -> Tensor:
        a, small, large = self._size(0.5)
        large = large.clamp(max=1e4)
        series = 1 / 12 - a**2 / 240 + a**4 / 6048
        exact = large**-2 - (2 * torch.sinh(large.clamp(max=80.0) / 2)) ** -2

        return torch.where(small, series, exact)

    def entropy(self) -> Tensor:
        return -self.log_prob(self.mean)

    def cdf(self, value: Tensor) -> Tensor:
        _, small, large = self._size(1e-3)
        value = value.clamp(0, 1)
        series = value - self.logits * value * (1 - value) / 2
        low = torch.expm1(-large * self._mirror(value)) / torch.expm1(-large)

        return torch.where(small, series, self._mirror(low))

    def icdf(self, value: Tensor) -> Tensor:
        _, small, large = self._size(1e-3)
        series = value + self.logits * value * (1 - value) / 2
        low = -torch.log1p(self._mirror(value) * torch.expm1(-large)) / large

        return torch.where(small, series, self._mirror(low)).clamp(0, 1)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _kl_continuous_bernoulli(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    return p.log_prob(p.mean) - q.log_prob(p.mean)
