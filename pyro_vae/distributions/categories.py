"""Classes without order, relaxed to the simplex."""

import pyro.distributions as dist
import torch
from torch import Size, Tensor

FLOOR = 2.0**-120  # the smallest share of a draw, which float32 tells exactly


class RelaxedOneHotCategorical(dist.RelaxedOneHotCategorical):
    r"""The relaxed one-hot categorical (Gumbel-softmax, concrete), whose draws stop short of 0.

    .. math:: p(a) = (m - 1)! \, \tau^{m - 1} \frac{\prod_{k \text{ above } \varepsilon} \pi_k \,
        a_k^{-\tau - 1}}{(\sum_k \pi_k a_k^{-\tau})^m}, \qquad \varepsilon = 2^{-120}

    At a low temperature most shares of a draw are too small for float32. They are set to ε, and m
    counts the others. Such a share has the probability of all that is smaller, instead of a
    density at the smallest number, which would make a KL too small by nats. With no share at ε it
    is the density of Maddison, Mnih & Teh (2017). (Also Jang, Gu & Poole, 2017)

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
        a = _move_off_zero(value)
        is_above = a > 1.001 * FLOOR  # a share at the floor may be rounded
        m = is_above.sum(-1)
        log_share = self.logits - self.temperature * a.log()
        log_density = (log_share - a.log()).where(is_above, 0.0).sum(-1)
        log_total = log_share.logsumexp(-1)

        return (
            torch.lgamma(m.to(a.dtype))
            + (m - 1) * self.temperature.log()
            + log_density
            - m * log_total
        )


def _move_off_zero(value: Tensor) -> Tensor:
    # at a low temperature the scores are so large that rounding leaves a sum visibly apart from one
    shares = value / value.sum(-1, keepdim=True)

    return shares.clamp(min=FLOOR)
