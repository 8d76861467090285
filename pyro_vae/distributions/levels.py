"""Ordered levels 0, ..., L-1. Each is an interval of a logistic variable."""

from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid, pad

from pyro_vae.distributions.mixture import Mixture


class DiscretisedLogistic(TorchDistribution):
    r"""A logistic variable rounded to the nearest of L levels, which lie evenly in [-1, 1].

    .. math:: p(x) = \sigma\Bigl(\frac{u + h - \mu}{s}\Bigr) -
        \sigma\Bigl(\frac{u - h - \mu}{s}\Bigr), \qquad u = 2xh - 1, \quad h = \frac{1}{L - 1}

    The lowest level takes all that is below it, and the highest takes all that is above it. So the
    levels sum to one exactly. (Salimans, Karpathy, Chen & Kingma, 2017)

    Arguments:
        loc, scale: μ and s. The lowest level is at -1 and the highest at 1.
        levels: L, at least 2.

    Example:
        >>> p = DiscretisedLogistic(torch.tensor(0.9), torch.tensor(0.1), torch.tensor(256))
        >>> round(p.log_prob(torch.arange(256)).exp().sum().item(), 4)
        1.0
    """

    arg_constraints: ClassVar[dict] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "levels": constraints.integer_interval(2, 2**16),
    }

    def __init__(
        self, loc: Tensor, scale: Tensor, levels: Tensor, validate_args: bool | None = None
    ):
        self.loc, self.scale, self.levels = broadcast_all(loc, scale, levels.to(loc.dtype))
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, _unrepeat(self.levels) - 1)

    def expand(self, batch_shape: Size, _instance=None) -> "DiscretisedLogistic":
        loc, scale, levels = (a.expand(batch_shape) for a in (self.loc, self.scale, self.levels))

        return DiscretisedLogistic(loc, scale, levels, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        top = self.levels - 1
        low, high = (((2 * value + side - top) / top - self.loc) / self.scale for side in (-1, 1))
        gap = 2 / (top * self.scale)

        return _log_between(low, high, gap, is_bottom=value <= 0, is_top=value >= top)

    @torch.no_grad()
    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        top = self.levels - 1

        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        logistic = self.loc + self.scale * u.logit(eps=torch.finfo(u.dtype).eps)
        level = ((logistic + 1) / 2 * top).round()

        return level.clamp(min=0).minimum(top)

    @property
    def mean(self) -> Tensor:
        most = int(self.levels.max())
        j = torch.arange(1, most, dtype=self.loc.dtype, device=self.loc.device)
        loc, scale, levels = (a.unsqueeze(-1) for a in (self.loc, self.scale, self.levels))
        above = torch.sigmoid((loc + 1 - (2 * j - 1) / (levels - 1)) / scale)

        return torch.where(j < levels, above, 0.0).sum(-1)


def _unrepeat(values: Tensor) -> Tensor:
    """Numbers without their repeats by broadcasting, so that a bound is seen to be constant."""
    for dim, stride in enumerate(values.stride()):
        if stride == 0:
            values = values.narrow(dim, 0, 1)
    return values


class DiscretisedLogisticMixture(Mixture):
    """A mixture of `DiscretisedLogistic` at every entry, as in PixelCNN++.

    (Salimans et al., 2017)

    Arguments:
        logits, loc, scale: Those of the components, `[..., components]`.
        levels: L, `[...]`.

    Example:
        >>> logits, loc, scale = torch.zeros(3), torch.randn(3), torch.ones(3)
        >>> p = DiscretisedLogisticMixture(logits, loc, scale, torch.tensor(17))
        >>> round(p.log_prob(torch.arange(17)).exp().sum().item(), 4)
        1.0
    """

    arg_constraints: ClassVar[dict] = {
        "logits": constraints.real,
        **DiscretisedLogistic.arg_constraints,
    }

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        levels: Tensor,
        validate_args: bool | None = None,
    ):
        self.logits, self.loc, self.scale = broadcast_all(logits, loc, scale)
        self.levels = levels.expand(self.loc.shape[:-1])
        components = DiscretisedLogistic(
            self.loc, self.scale, self.levels.unsqueeze(-1), validate_args=validate_args
        )
        weights = dist.Categorical(logits=self.logits)
        super().__init__(weights, components, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, _unrepeat(self.levels) - 1)

    def expand(self, batch_shape: Size, _instance=None) -> "DiscretisedLogisticMixture":
        shape = (*batch_shape, self.loc.shape[-1])
        logits, loc, scale = (a.expand(shape) for a in (self.logits, self.loc, self.scale))
        levels = self.levels.expand(batch_shape)

        return DiscretisedLogisticMixture(logits, loc, scale, levels, validate_args=False)


class Ordinal(dist.Categorical):
    r"""Ordered classes by cumulative logits: a logistic variable around loc, cut at thresholds c.

    .. math:: p(x \le j) = \sigma(c_j - \mu), \qquad c_j - c_{j-1} = g_j > 0, \quad c_0 + c_{L-2} =
        0

    The thresholds are given by their gaps and centred, because a common shift of them is a shift of
    loc. (McCullagh, 1980)

    Arguments:
        loc: μ, `[...]`.
        gaps: g, `[..., L-2]`.

    Example:
        >>> Ordinal(torch.tensor(0.0), torch.ones(3)).probs.sum().item()
        1.0
    """

    arg_constraints: ClassVar[dict] = {
        "loc": constraints.real,
        "gaps": constraints.independent(constraints.positive, 1),
    }

    def __init__(self, loc: Tensor, gaps: Tensor, validate_args: bool | None = None):
        self.loc, self.gaps = loc, gaps
        thresholds = pad(gaps.cumsum(-1), (1, 0)) - gaps.sum(-1, keepdim=True) / 2
        c = thresholds - loc.unsqueeze(-1)

        low, high = pad(c, (1, 0)), pad(c, (0, 1))
        gap = pad(gaps, (1, 1), value=1.0).expand(low.shape)
        j = torch.arange(low.shape[-1], device=loc.device)
        logits = _log_between(low, high, gap, is_bottom=j == 0, is_top=j == j.shape[0] - 1)

        super().__init__(logits=logits, validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance=None) -> "Ordinal":
        new = self._get_checked_instance(Ordinal, _instance)
        new.loc = self.loc.expand(batch_shape)
        new.gaps = self.gaps.expand(*batch_shape, self.gaps.shape[-1])

        return super().expand(batch_shape, new)

    @property
    def mean(self) -> Tensor:
        classes = self.probs.shape[-1]
        j = torch.arange(classes, dtype=self.probs.dtype, device=self.probs.device)

        return self.probs @ j


def _log_between(
    low: Tensor, high: Tensor, gap: Tensor, *, is_bottom: Tensor, is_top: Tensor
) -> Tensor:
    """log(σ(high) - σ(low)), where high = low + gap.

    Nothing is below the bottom level and nothing above the top one. It is computed as
    σ(high) σ(-low) (1 - exp(-gap)), in which no term cancels another.
    """
    inside = torch.where(is_bottom | is_top, 0.0, (-torch.expm1(-gap)).log())
    below_high = torch.where(is_top, 0.0, logsigmoid(high))
    above_low = torch.where(is_bottom, 0.0, logsigmoid(-low))

    return below_high + above_low + inside
