"""Classes without order, relaxed to the simplex."""

import pyro.distributions as dist
import torch
from torch import Size, Tensor


class RelaxedOneHotCategorical(dist.RelaxedOneHotCategorical):
    """The relaxed one-hot categorical (Gumbel-softmax, concrete). Its draws are never exactly zero.

    At a low temperature torch's draws underflow, and the density of such a draw is not a number.
    (Maddison, Mnih & Teh, 2017; Jang, Gu & Poole, 2017)

    Example:
        >>> q = RelaxedOneHotCategorical(torch.tensor(0.01), logits=torch.zeros(5))
        >>> bool(q.log_prob(q.sample((1000,))).isfinite().all())
        True
    """

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return _move_off_zero(super().rsample(sample_shape))

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return _move_off_zero(super().sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(_move_off_zero(value))


def _move_off_zero(value: Tensor) -> Tensor:
    # at a low temperature the scores are so large that rounding leaves a sum visibly apart from one
    shares = value / value.sum(-1, keepdim=True)

    return shares.clamp(min=torch.finfo(value.dtype).tiny)
