"""Counts: by their mean and dispersion, with too many zeros, and with a total."""

from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from pyro_vae.supports import CountOfTotal

LOG_MEAN_MAX = 30.0
DISPERSION_MIN = 1e-15  # below it a negative binomial is a Poisson in the digits of any float
SERIES_MIN = 100.0  # from here on two terms of Stirling's series have the digits of a float64


class GammaPoisson(TorchDistribution):
    r"""The negative binomial by the logarithm of its mean and by its dispersion.

    .. math:: x \mid \lambda \sim \mathrm{Poisson}(\lambda), \qquad
        \lambda \sim \mathrm{Gamma}(1 / \alpha, 1 / (\alpha \mu)), \qquad
        \mathrm{Var}\, x = \mu + \alpha \mu^2

    The inverse of the dispersion α is the `total_count` of `pyro.distributions.NegativeBinomial`.
    At α = 0 it is a Poisson. log p keeps its digits near that, where it is no difference of large
    numbers. A mean is held below e^30. (Greenwood & Yule, 1920)

    Arguments:
        log_mean: log μ. At -∞ all counts are 0.
        dispersion: α.

    Example:
        >>> p = GammaPoisson(torch.tensor(10.0).log(), torch.tensor([0.0, 0.5]))
        >>> p.variance.round()
        tensor([10., 60.])
    """

    arg_constraints: ClassVar[dict] = {
        "log_mean": constraints.real,
        "dispersion": constraints.nonnegative,
    }
    support = constraints.nonnegative_integer

    def __init__(self, log_mean: Tensor, dispersion: Tensor, validate_args: bool | None = None):
        # each keeps its shape: what depends on the dispersion alone is then computed once a column
        self.log_mean, self.dispersion = log_mean, dispersion
        shape = torch.broadcast_shapes(log_mean.shape, dispersion.shape)
        super().__init__(shape, validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance=None) -> "GammaPoisson":
        log_mean, dispersion = (a.expand(batch_shape) for a in (self.log_mean, self.dispersion))

        return GammaPoisson(log_mean, dispersion, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.to(self.log_mean.dtype)
        a = self.dispersion.clamp(min=DISPERSION_MIN)
        # 0 log 0 is 0
        log_power = torch.where(value == 0, 0.0, value * self._log_mean)
        log_total = torch.log1p(a * self.mean)

        log_ways = _log_rising(value, a) - torch.lgamma(value + 1)
        return log_ways + log_power - value * log_total - log_total / a

    @torch.no_grad()
    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        r = self.dispersion.clamp(min=DISPERSION_MIN).reciprocal().expand(shape)
        share = torch._standard_gamma(r) / r

        return torch.poisson(self.mean * share)

    @property
    def mean(self) -> Tensor:
        return self._log_mean.exp().expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        return self.mean + self.dispersion * self.mean**2

    @property
    def _log_mean(self) -> Tensor:
        return self.log_mean.clamp(max=LOG_MEAN_MAX)


def _log_rising(x: Tensor, a: Tensor) -> Tensor:
    r"""log (1 (1 + a) (1 + 2a) ... (1 + (x - 1) a)), which is 0 at a = 0.

    It is log Γ(x + r) - log Γ(r) - x log r at r = 1 / a. For a large r that is a difference of
    large numbers, and Stirling's series takes its place.
    """
    r = 1 / a
    log_growth = torch.log1p(a * x)
    rest = _stirling_rest(x + r) - _stirling_rest(r)
    series = (x + r - 0.5) * log_growth - x + rest
    exact = torch.lgamma(x + r) - torch.lgamma(r) + x * a.log()

    return torch.where(r > SERIES_MIN, series, exact)


def _stirling_rest(u: Tensor) -> Tensor:
    """What log Γ(u) is above (u - ½) log u - u + ½ log 2π, for u of at least `SERIES_MIN`."""
    v = 1 / u.clamp(min=SERIES_MIN)

    return v * (1 / 12 - v * v / 360)


class _ByLogits:
    """Zero inflation by the logits of its gate, throughout.

    Pyro's keeps the probability of a zero once it drew. After that it cannot be expanded, and its
    log p has fewer digits.
    """

    gate_logits: Tensor

    @property
    def gate(self) -> Tensor:
        """The probability of a zero beside those of the counts."""
        return self.gate_logits.sigmoid()


class ZeroInflatedPoisson(_ByLogits, dist.ZeroInflatedPoisson):
    """Pyro's, by its logits throughout. A draw does not change it.

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
    """Pyro's, by its logits throughout.

    It does not refuse logits so large that their probability rounds to one.

    Example:
        >>> a = torch.tensor(2.0)
        >>> p = ZeroInflatedNegativeBinomial(a, logits=100 * a, gate_logits=a)
        >>> p.log_prob(a).isfinite().item()
        True
    """

    arg_constraints: ClassVar[dict] = {
        "total_count": constraints.greater_than_eq(0),
        "logits": constraints.real,
        "gate_logits": constraints.real,
    }


class ZeroInflatedGammaPoisson(_ByLogits, dist.ZeroInflatedDistribution):
    r"""A `GammaPoisson`, or 0 with probability g.

    .. math:: p(x) = g \, [x = 0] + (1 - g) \, \mathrm{GammaPoisson}(x; \mu, \alpha)

    Arguments:
        log_mean: log μ, of the counts that are not inflated.
        dispersion: α.
        gate_logits: log g / (1 - g).

    Example:
        >>> zero, gate = torch.tensor(0.0), torch.tensor([-30.0, 0.0])
        >>> ZeroInflatedGammaPoisson(zero, zero, gate).log_prob(zero).exp()
        tensor([0.3679, 0.6839])
    """

    arg_constraints: ClassVar[dict] = {
        **GammaPoisson.arg_constraints,
        "gate_logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(
        self,
        log_mean: Tensor,
        dispersion: Tensor,
        gate_logits: Tensor,
        validate_args: bool | None = None,
    ):
        base = GammaPoisson(log_mean, dispersion, validate_args=False)
        super().__init__(base, gate_logits=gate_logits, validate_args=validate_args)

    @property
    def log_mean(self) -> Tensor:
        return self.base_dist.log_mean

    @property
    def dispersion(self) -> Tensor:
        return self.base_dist.dispersion


class Multinomial(TorchDistribution):
    r"""Counts over K classes, given their total. The density takes the total from each value.

    .. math:: \log p(x \mid N) = \log \frac{N!}{\prod_j x_j!} + \sum_j x_j \log p_j, \qquad N =
        \sum_j x_j

    It sums to one over the counts of each total. Draws have the total `total_count`.

    Arguments:
        logits: Those of the classes, `[..., K]`.
        total_count: The total of a draw, `[...]`. log p makes no use of it.

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
        self.logits = logits.expand(*shape, logits.shape[-1])
        self.total_count = total_count.expand(shape)
        super().__init__(shape, logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance=None) -> "Multinomial":
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        total_count = self.total_count.expand(batch_shape)

        return Multinomial(logits, total_count, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.to(self.logits.dtype)
        log_ways = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
        log_p = value * self.logits.log_softmax(-1)

        return log_ways + log_p.sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        probs = self.logits.softmax(-1).expand(self._extended_shape(sample_shape))

        return _draw_counts(probs, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count.unsqueeze(-1) * self.logits.softmax(-1)


class DirichletMultinomial(dist.DirichletMultinomial):
    r"""Counts over K classes, given their total, with probabilities that are Dirichlet.

    .. math:: p(x \mid N) = \frac{N! \, \Gamma(A)}{\Gamma(N + A)} \prod_j
        \frac{\Gamma(x_j + a_j)}{x_j! \, \Gamma(a_j)}, \qquad N = \sum_j x_j, \quad A = \sum_j a_j

    Each datum has probabilities of its own. As with `Multinomial` the density takes the total from
    each value, and `total_count` is the total of a draw. Here it may differ from datum to datum.
    (Mosimann, 1962)

    Arguments:
        concentration: a, `[..., K]`.
        total_count: The total of a draw, `[...]`.

    Example:
        >>> DirichletMultinomial(torch.ones(3), torch.tensor(10)).sample().sum().item()
        10.0
    """

    support = constraints.independent(CountOfTotal(0), 1)

    def expand(self, batch_shape: Size, _instance=None) -> "DirichletMultinomial":
        new = self._get_checked_instance(DirichletMultinomial, _instance)

        return super().expand(batch_shape, new)

    @torch.no_grad()
    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        probs = self._dirichlet.sample(sample_shape)

        return _draw_counts(probs, self.total_count)


def _draw_counts(probs: Tensor, total: Tensor) -> Tensor:
    """How often each class is drawn in so many draws.

    Class by class, each a binomial of the draws that are left. torch's sampler wants one total for
    all rows.
    """
    left = total.expand(probs.shape[:-1]).to(probs.dtype)
    rest = probs.flip(-1).cumsum(-1).flip(-1).clamp(min=torch.finfo(probs.dtype).tiny)
    shares = (probs / rest).clamp(0, 1)

    counts = []
    for share in shares[..., :-1].unbind(-1):
        drawn = torch.binomial(left, share)
        left = left - drawn
        counts.append(drawn)

    return torch.stack([*counts, left], -1)
