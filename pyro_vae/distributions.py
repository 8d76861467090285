"""The few densities that Pyro lacks, as ordinary Pyro distributions."""

import math
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints, register_kl


class Bernoulli(dist.Bernoulli):
    """The Bernoulli, which scores zeros and ones of any type: floats, integers, booleans."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value.to(self.logits.dtype))


class ContinuousBernoulli(dist.ContinuousBernoulli):
    r"""The continuous Bernoulli on [0, 1], normalised and sampled exactly at any logit.

    .. math:: \log p(x) = \eta x - \log \frac{e^\eta - 1}{\eta}, \qquad \eta \text{ the logit}

    torch's clamps the probability inside the normaliser only, so beyond a logit of about 16 its density no
    longer integrates to one, and images with exactly black pixels lead there (Loaiza-Ganem & Cunningham, 2019).

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


class Mixture(dist.MixtureSameFamily):
    """`MixtureSameFamily`, whose support is that of its components.

    torch wraps the components' support in a constraint that has no bijection to the reals.
    """

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return self.component_distribution.support


class FlowDistribution(TorchDistribution):
    """A Zuko flow over vectors, as a Pyro distribution of any event shape.

    Keeps the log density of its last draw, which a flow computes on the way.

    Arguments:
        flow: A distribution over vectors, `zuko.flows.NSF(...)(context)` for one.
        event_shape: The shape of an event, of as many numbers as the vector.
    """

    arg_constraints: ClassVar[dict] = {}
    has_rsample = True

    def __init__(self, flow: torch.distributions.Distribution, event_shape: Size, validate_args: bool | None = None):
        self.flow = flow
        self._last: tuple = (None, None, False)
        super().__init__(flow.batch_shape, Size(event_shape), validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Size, _instance=None) -> "FlowDistribution":
        return FlowDistribution(self.flow.expand(Size(batch_shape)), self.event_shape)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        z, log_q = self.flow.rsample_and_log_prob(Size(sample_shape))
        z = z.reshape(z.shape[:-1] + self.event_shape)
        self._last = (z, log_q, torch.is_grad_enabled())
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        z, log_q, with_grad = self._last
        if value is z and (with_grad or not torch.is_grad_enabled()):
            return log_q
        lead = torch.broadcast_shapes(value.shape[: value.dim() - len(self.event_shape)], self.batch_shape)
        # some of Zuko's transforms do not broadcast a value against their context
        return self.flow.log_prob(value.expand(lead + self.event_shape).reshape(*lead, -1))
