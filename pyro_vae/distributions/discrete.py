"""Relaxations of discrete variables, kept off the corners, and distributions made dimension by dimension."""

from collections.abc import Callable
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints
from torch.distributions.utils import clamp_probs
from torch.nn.functional import softplus


class RelaxedOneHotCategorical(dist.RelaxedOneHotCategorical):
    """The relaxed one-hot categorical (Gumbel-softmax, concrete), whose draws are never exactly zero.

    At a low temperature torch's underflow, and the density of such a draw is not a number.
    (Maddison, Mnih & Teh, 2017; Jang, Gu & Poole, 2017)

    Example:
        >>> q = RelaxedOneHotCategorical(torch.tensor(0.01), logits=torch.zeros(5))
        >>> bool(q.log_prob(q.sample((1000,))).isfinite().all())
        True
    """

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return _off_zero(super().rsample(sample_shape))

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return _off_zero(super().sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(_off_zero(value))


class RelaxedBernoulli(dist.RelaxedBernoulli):
    """The relaxed Bernoulli (concrete), whose density is finite at any logit; torch's overflows beyond 88.

    Example:
        >>> RelaxedBernoulli(torch.tensor(0.5), logits=torch.tensor(1e3)).log_prob(torch.tensor(0.5)).round()
        tensor(-999.)
    """

    def log_prob(self, value: Tensor) -> Tensor:
        value = clamp_probs(value)
        logit = value.log() - torch.log1p(-value)
        d = self.logits - self.temperature * logit
        return self.temperature.log() + d - 2 * softplus(d) - value.log() - torch.log1p(-value)


class Autoregressive(TorchDistribution):
    r"""A distribution made dimension by dimension.

    .. math:: p(a) = \prod_d p(a_d \mid a_{<d})

    Arguments:
        conditionals: From values `[*lead, D]`, of which it uses those before d for d, the
            distribution of every dimension, of batch_shape `[*lead, D]`.
        batch_shape, event_shape: The shapes; an event has D numbers.

    Example:
        >>> same = Autoregressive(lambda a: dist.Bernoulli(0.5 + 0 * a), Size(), Size([3]))
        >>> same.log_prob(torch.ones(3)).exp()
        tensor(0.1250)
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(
        self,
        conditionals: Callable[[Tensor], TorchDistribution],
        batch_shape: Size,
        event_shape: Size,
        validate_args: bool | None = None,
    ):
        self.conditionals = conditionals
        super().__init__(Size(batch_shape), Size(event_shape), validate_args=validate_args)
        self._first = conditionals(torch.zeros((*self.batch_shape, self.event_shape.numel())))

    @property
    def has_rsample(self) -> bool:
        return self._first.has_rsample

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self._first.support, len(self.event_shape))

    def expand(self, batch_shape: Size, _instance=None) -> "Autoregressive":
        return Autoregressive(
            self.conditionals, Size(batch_shape), self.event_shape, validate_args=False
        )

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            return self._draw(Size(sample_shape), lambda p: p.sample())

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return self._draw(Size(sample_shape), lambda p: p.rsample())

    def log_prob(self, value: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(
            value.shape[: value.dim() - len(self.event_shape)], self.batch_shape
        )
        flat = value.expand(lead + self.event_shape).reshape(lead + (self.event_shape.numel(),))
        return self.conditionals(flat).log_prob(flat).sum(-1)

    def _draw(self, sample_shape: Size, one: Callable[[TorchDistribution], Tensor]) -> Tensor:
        lead, numbers = sample_shape + self.batch_shape, self.event_shape.numel()
        drawn = []
        rest = torch.zeros((*lead, numbers), device=one(self._first).device)
        for d in range(numbers):
            known = torch.cat(
                [*drawn, rest[..., d:].to(drawn[0].dtype if drawn else rest.dtype)], -1
            )
            drawn.append(one(self.conditionals(known))[..., d : d + 1])
        return torch.cat(drawn, -1).reshape(lead + self.event_shape)


def _off_zero(value: Tensor) -> Tensor:
    # at a low temperature the scores are so large that rounding leaves a sum visibly apart from one
    return (value / value.sum(-1, keepdim=True)).clamp(min=torch.finfo(value.dtype).tiny)
