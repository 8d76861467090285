"""Bernoullis, for binary values and for values in [0, 1]."""

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import register_kl


class Bernoulli(dist.Bernoulli):
    """The Bernoulli, which scores zeros and ones of any type: floats, integers, booleans."""

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # in two passes over the memory, where torch takes five
        return torch.addcmul(
            nn.functional.logsigmoid(self.logits), self.logits, value.to(self.logits.dtype) - 1
        )


class ContinuousBernoulli(dist.ContinuousBernoulli):
    r"""The continuous Bernoulli on [0, 1], normalised and sampled exactly at any logit.

    .. math:: \log p(x) = \eta x - \log \frac{e^\eta - 1}{\eta}, \qquad \eta \text{ the logit}

    torch's clamps the probability inside the normaliser only, so beyond a logit of about 16 its
    density no longer integrates to one, and images with exactly black pixels lead there.
    (Loaiza-Ganem & Cunningham, 2019)

    Example:
        >>> d = ContinuousBernoulli(logits=torch.tensor(50.0))
        >>> x = torch.linspace(0, 1, 100_001)
        >>> round(torch.trapezoid(d.log_prob(x).exp(), x).item(), 4)
        1.0
    """

    def _cont_bern_log_norm(self) -> Tensor:
        a = self.logits.abs()
        small = a < 0.1
        a_ = torch.where(small, torch.ones_like(a), a)
        exact = a_.log() + torch.log1p(torch.exp(-a_)) - torch.log(-torch.expm1(-a_))
        return torch.where(small, math.log(2) + a**2 / 12 - 7 * a**4 / 1440, exact)

    @property
    def mean(self) -> Tensor:
        a = self.logits.abs()
        small = a < 0.1
        a_ = torch.where(small, torch.ones_like(a), a)
        low = 1 / a_ + torch.exp(-a_) / torch.expm1(-a_)
        exact = torch.where(self.logits > 0, 1 - low, low)
        return torch.where(small, 0.5 + self.logits / 12 - self.logits**3 / 720, exact)

    @property
    def variance(self) -> Tensor:
        a = self.logits.abs()
        small = a < 0.5
        a_ = torch.where(small, torch.ones_like(a), a).clamp(max=1e4)
        exact = a_**-2 - (2 * torch.sinh(a_.clamp(max=80.0) / 2)) ** -2
        return torch.where(small, 1 / 12 - a**2 / 240 + a**4 / 6048, exact)

    def entropy(self) -> Tensor:
        return -self.log_prob(self.mean)

    def cdf(self, value: Tensor) -> Tensor:
        a = self.logits.abs()
        small = a < 1e-3
        a_ = torch.where(small, torch.ones_like(a), a)
        value = value.clamp(0, 1)
        x = torch.where(self.logits > 0, 1 - value, value)
        u = torch.expm1(-a_ * x) / torch.expm1(-a_)
        exact = torch.where(self.logits > 0, 1 - u, u)
        return torch.where(small, value - self.logits * value * (1 - value) / 2, exact)

    def icdf(self, value: Tensor) -> Tensor:
        a = self.logits.abs()
        small = a < 1e-3
        a_ = torch.where(small, torch.ones_like(a), a)
        u = torch.where(self.logits > 0, 1 - value, value)
        x = -torch.log1p(u * torch.expm1(-a_)) / a_
        exact = torch.where(self.logits > 0, 1 - x, x)
        return torch.where(small, value + self.logits * value * (1 - value) / 2, exact).clamp(0, 1)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _kl_continuous_bernoulli(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    return p.log_prob(p.mean) - q.log_prob(p.mean)
