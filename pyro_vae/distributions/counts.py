"""Counts: with a total, whatever the total of each datum, and with too many zeros."""

from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from pyro_vae.supports import CountOfTotal


class _ByLogits:
    """Pyro keeps the probability of a zero once it drew, cannot be expanded then, and has log p of fewer digits."""

    @property
    def gate(self) -> Tensor:
        return self.gate_logits.sigmoid()


class ZeroInflatedPoisson(_ByLogits, dist.ZeroInflatedPoisson):
    """Pyro's, by its logits throughout, so that it is after a draw what it was before.

    Example:
        >>> p = ZeroInflatedPoisson(torch.tensor(2.0), gate_logits=torch.tensor(30.0))
        >>> _ = p.sample()
        >>> p.expand((2,)).log_prob(torch.tensor([0.0, 1.0])).round()
        tensor([ -0., -31.])
    """

    arg_constraints: ClassVar[dict] = {
        "rate": constraints.positive,
        "gate_logits": constraints.real,
    }


class ZeroInflatedNegativeBinomial(_ByLogits, dist.ZeroInflatedNegativeBinomial):
    """Pyro's, by its logits throughout; it does not refuse those so large that their probability rounds to one.

    Example:
        >>> a = torch.tensor(2.0)
        >>> ZeroInflatedNegativeBinomial(a, logits=100 * a, gate_logits=a).log_prob(a).isfinite().item()
        True
    """

    arg_constraints: ClassVar[dict] = {
        "total_count": constraints.greater_than_eq(0),
        "logits": constraints.real,
        "gate_logits": constraints.real,
    }


class Multinomial(TorchDistribution):
    r"""Counts over K classes, given their total: the density takes the total from each value
    itself.

    .. math:: \log p(x \mid N) = \log \frac{N!}{\prod_j x_j!} + \sum_j x_j \log p_j, \qquad N =
    \sum_j x_j

    It sums to one over the counts of each total. Draws have the total that `total_count` says.

    Arguments:
        logits: Of the classes, `[..., K]`.
        total_count: The total of a draw, `[...]`; log p makes no use of it.

    Example:
        >>> p = Multinomial(torch.zeros(3), torch.tensor(10))
        >>> p.sample().sum().item()
        10.0
        >>> round(p.log_prob(torch.tensor([2.0, 0.0, 0.0])).exp().item(), 4)
        0.1111
    """

    arg_constraints: ClassVar[dict] = {
        "logits": constraints.real_vector,
        "total_count": constraints.nonnegative_integer,
    }
    support = constraints.independent(CountOfTotal(0), 1)

    def __init__(self, logits: Tensor, total_count: Tensor, validate_args: bool | None = None):
        shape = torch.broadcast_shapes(logits.shape[:-1], total_count.shape)
        self.logits, self.total_count = (
            logits.expand(*shape, logits.shape[-1]),
            total_count.expand(shape),
        )
        super().__init__(shape, logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance=None) -> "Multinomial":
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        return Multinomial(logits, self.total_count.expand(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.to(self.logits.dtype)
        ways = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
        return ways + (value * self.logits.log_softmax(-1)).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return _counts(
            self.logits.softmax(-1).expand(self._extended_shape(sample_shape)), self.total_count
        )

    @property
    def mean(self) -> Tensor:
        return self.total_count.unsqueeze(-1) * self.logits.softmax(-1)


class DirichletMultinomial(dist.DirichletMultinomial):
    r"""Counts over K classes whose probabilities vary, Dirichlet, from datum to datum, given their
    total.

    .. math:: p(x \mid N) = \frac{N! \, \Gamma(A)}{\Gamma(N + A)} \prod_j \frac{\Gamma(x_j +
    a_j)}{x_j! \, \Gamma(a_j)},
        \qquad N = \sum_j x_j, \quad A = \sum_j a_j

    As with `Multinomial` the density takes the total from each value, and `total_count` is that of
    a draw, which here may differ from datum to datum. (Mosimann, 1962)

    Arguments:
        concentration: a, `[..., K]`.
        total_count: The total of a draw, `[...]`.

    Example:
        >>> DirichletMultinomial(torch.ones(3), torch.tensor(10)).sample().sum().item()
        10.0
    """

    support = constraints.independent(CountOfTotal(0), 1)

    def expand(self, batch_shape: Size, _instance=None) -> "DirichletMultinomial":
        return super().expand(
            batch_shape, self._get_checked_instance(DirichletMultinomial, _instance)
        )

    @torch.no_grad()
    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return _counts(self._dirichlet.sample(sample_shape), self.total_count)


def _counts(probs: Tensor, total: Tensor) -> Tensor:
    """Counts of so many draws of a class, one class after the other; torch's wants one total for all."""
    left = total.expand(probs.shape[:-1]).to(probs.dtype)
    rest = probs.flip(-1).cumsum(-1).flip(-1).clamp(min=torch.finfo(probs.dtype).tiny)
    counts = []
    for share in (probs / rest).clamp(0, 1)[..., :-1].unbind(-1):
        counts.append(torch.binomial(left, share))
        left = left - counts[-1]
    return torch.stack([*counts, left], -1)
