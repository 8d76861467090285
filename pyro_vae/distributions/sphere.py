"""Distributions on the unit sphere of R^d."""

import math
from typing import ClassVar

import torch
from numpy.polynomial.legendre import leggauss
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import register_kl

PROPOSALS = 32  # each is accepted with a probability of at least about 0.66


def log_area(d: int) -> float:
    r"""The logarithm of the area of the unit sphere of R^d, :math:`2 \pi^{d/2} / \Gamma(d/2)`.

    Example:
        >>> round(math.exp(log_area(3)) / math.pi, 6)
        4.0
    """
    return math.log(2) + 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d)


class UniformSphere(TorchDistribution):
    r"""The uniform distribution on the unit sphere of R^d.

    .. math:: p(z) = \frac{\Gamma(d/2)}{2 \pi^{d/2}}

    Arguments:
        centre: Zeros, `[*batch, d]`: of that shape, type and device are the draws.

    Raises:
        ValueError: if d is less than 2.

    Example:
        >>> UniformSphere(torch.zeros(3)).sample((5,)).norm(dim=-1).allclose(torch.ones(5))
        True
    """

    arg_constraints: ClassVar[dict] = {"centre": constraints.real_vector}
    support = constraints.sphere
    has_rsample = True

    def __init__(self, centre: Tensor, validate_args: bool | None = None):
        _check_dimension(centre)
        self.centre = centre
        super().__init__(centre.shape[:-1], centre.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance=None) -> "UniformSphere":
        return UniformSphere(
            self.centre.expand(Size(batch_shape) + self.event_shape), validate_args=False
        )

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return _normalised(_noise(self.centre, self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return (0 * self.centre.sum(-1) - log_area(self.event_shape[0])).expand(lead)

    def entropy(self) -> Tensor:
        return 0 * self.centre.sum(-1) + log_area(self.event_shape[0])


class _Zonal(TorchDistribution):
    """A density of μᵀz alone: t = μᵀz is drawn first, and then a direction at random across μ.

    Arguments:
        loc: μ, `[*batch, d]`, scaled to length one; the first axis, where it is zero.
        concentration: κ, `[*batch]`, above zero.

    Raises:
        ValueError: if d is less than 2.
    """

    arg_constraints: ClassVar[dict] = {
        "loc": constraints.real_vector,
        "concentration": constraints.positive,
    }
    support = constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None):
        _check_dimension(loc)
        batch = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = _normalised(loc).expand(batch + loc.shape[-1:])
        self.concentration = concentration.expand(batch)
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance=None):
        new = self._get_checked_instance(type(self), _instance)
        new.loc = self.loc.expand(Size(batch_shape) + self.event_shape)
        new.concentration = self.concentration.expand(Size(batch_shape))
        TorchDistribution.__init__(new, Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        across = _noise(self.loc, self._extended_shape(sample_shape))
        across = _normalised(across - (across * self.loc).sum(-1, keepdim=True) * self.loc)
        away = self.draw_away(Size(sample_shape)).unsqueeze(-1)
        sine = (away * (2 - away)).clamp(min=torch.finfo(away.dtype).tiny).sqrt()
        return _normalised((1 - away) * self.loc + sine * across)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._log_density((value - self.loc).square().sum(-1) / 2)

    @property
    def mean(self) -> Tensor:
        return self._mean_cosine().unsqueeze(-1) * self.loc

    def entropy(self) -> Tensor:
        return log_area(self.event_shape[0]) - self.kl_to_uniform()

    def kl_to_uniform(self) -> Tensor:
        """KL from this to the uniform distribution, in nats, `[*batch]`."""
        raise NotImplementedError

    def draw_away(self, sample_shape: Size) -> Tensor:
        """1 - t, reparametrised."""
        raise NotImplementedError

    def _log_density(self, away: Tensor) -> Tensor:
        raise NotImplementedError

    def _mean_cosine(self) -> Tensor:
        raise NotImplementedError


class PowerSpherical(_Zonal):
    r"""The power spherical distribution: as the von Mises-Fisher for those who draw and
    differentiate much.

    .. math:: p(z) \propto (1 + \mu^\top z)^\kappa, \qquad
        \mu^\top z = 2 b - 1, \; b \sim \mathrm{Beta}(\tfrac{d-1}{2} + \kappa, \tfrac{d-1}{2})

    Reparametrised, with a closed normaliser, entropy and KL to the uniform. (De Cao & Aziz, 2020)

    Arguments:
        loc: μ, `[*batch, d]`, scaled to length one; the first axis, where it is zero.
        concentration: κ, `[*batch]`, above zero.

    Raises:
        ValueError: if d is less than 2.

    Example:
        >>> q = PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(2.0))
        >>> q.mean
        tensor([0.0000, 0.0000, 0.5000])
    """

    def draw_away(self, sample_shape: Size) -> Tensor:
        near, far = (
            torch._standard_gamma(g.expand(sample_shape + self.batch_shape)) for g in self._ab()
        )
        return 2 * far / (near + far)

    def _log_density(self, away: Tensor) -> Tensor:
        _, b = self._ab()
        log_cosine = torch.log1p((-away / 2).clamp(min=-1 + torch.finfo(away.dtype).eps))
        return (
            self.concentration * log_cosine
            - 2 * b * math.log(2)
            - b * math.log(math.pi)
            - self._log_ratio()
        )

    def _mean_cosine(self) -> Tensor:
        a, b = self._ab()
        return (a - b) / (a + b)

    def kl_to_uniform(self) -> Tensor:
        a, b = (t.double() for t in self._ab())
        log_cosine = (torch.digamma(a) - torch.digamma(a + b)).to(self.loc.dtype)
        at_mean = self.concentration * log_cosine - self._log_ratio()
        b = (self.event_shape[0] - 1) / 2
        return at_mean - b * math.log(4 * math.pi) + log_area(self.event_shape[0])

    def _ab(self) -> tuple[Tensor, Tensor]:
        b = torch.full_like(self.concentration, (self.event_shape[0] - 1) / 2)
        return self.concentration + b, b

    def _log_ratio(self) -> Tensor:
        """log Γ(a) - log Γ(a + b), which single precision cannot subtract."""
        a, b = (t.double() for t in self._ab())
        return (torch.lgamma(a) - torch.lgamma(a + b)).to(self.loc.dtype)


class VonMisesFisher(_Zonal):
    r"""The von Mises-Fisher distribution, the normal distribution of the sphere.

    .. math:: p(z) \propto e^{\kappa \mu^\top z}, \qquad
        \int_{-1}^{1} e^{\kappa t} (1 - t^2)^{(d-3)/2} dt = \int e^{\kappa \tanh u} \cosh^{1-d}(u)
        \, du

    The normaliser is the second integral by the trapezoidal rule around its mode, exact to rounding
    for any κ and d, Bessel functions or not. t = μᵀz is the first accepted of 32 proposals of
    Ulrich's scheme (none is, with a probability near 1e-15), so that no loop stands in the way of
    an export; the gradient of t in κ is implicit, by quadrature, and needs no correction term in
    the objective. (Ulrich, 1984; Wood, 1994; Davidson, Falorsi, De Cao, Kipf & Tomczak, 2018;
    Figurnov, Mohamed & Mnih, 2018)

    Arguments:
        loc: μ, `[*batch, d]`, scaled to length one; the first axis, where it is zero.
        concentration: κ, `[*batch]`, above zero.

    Raises:
        ValueError: if d is less than 2.

    Example:
        >>> q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(2.0))
        >>> round(q.mean[2].item(), 4), round(1 / math.tanh(2) - 1 / 2, 4)
        (0.5373, 0.5373)
    """

    def _log_density(self, away: Tensor) -> Tensor:
        return (
            -self.concentration * away - self._log_normaliser() - log_area(self.event_shape[0] - 1)
        )

    def _mean_cosine(self) -> Tensor:
        u, _ = self._grid()
        return (self._exponent(u).softmax(-1) * u.tanh()).sum(-1)

    def kl_to_uniform(self) -> Tensor:
        d, kappa = self.event_shape[0], self.concentration
        u, _ = self._grid()
        away = (self._exponent(u).softmax(-1) * 2 * torch.sigmoid(-2 * u)).sum(-1)
        return -kappa * away - self._log_normaliser() - log_area(d - 1) + log_area(d)

    def _mode(self) -> tuple[Tensor, Tensor]:
        """Where the integrand over u has its mode, and its width there."""
        kappa, m = self.concentration.detach(), self.event_shape[0] - 1
        ratio = 2 / (m + (m**2 + 4 * kappa**2).sqrt())
        t = kappa * ratio
        return ((1 + t).square() / (m * ratio)).log() / 2, (m * ratio * (2 * kappa * t + m)).rsqrt()

    def _grid(self) -> tuple[Tensor, Tensor]:
        """Points u `[*batch, m]` and the logarithm of their distance."""
        mode, width = self._mode()
        reach = 10 + 50 / math.sqrt(self.event_shape[0] - 1)
        x = torch.arange(-reach, reach, 0.3, dtype=mode.dtype, device=mode.device)
        return mode.unsqueeze(-1) + width.unsqueeze(-1) * x, (0.3 * width).log()

    def _exponent(self, u: Tensor) -> Tensor:
        """The logarithm of the integrand over u, less κ."""
        log_cosh = u.abs() + torch.log1p(torch.exp(-2 * u.abs())) - math.log(2)
        kappa = self.concentration.unsqueeze(-1)
        return -2 * kappa * torch.sigmoid(-2 * u) - (self.event_shape[0] - 1) * log_cosh

    def _log_normaliser(self) -> Tensor:
        u, log_step = self._grid()
        return self._exponent(u).logsumexp(-1) + log_step

    def draw_away(self, sample_shape: Size) -> Tensor:
        with torch.no_grad():
            away = self._propose(sample_shape)
            slope = (
                self._slope(away) if self.concentration.requires_grad else torch.zeros_like(away)
            )
        return away + slope * (self.concentration - self.concentration.detach())

    def _propose(self, sample_shape: Size) -> Tensor:
        m = self.event_shape[0] - 1
        kappa = self.concentration.expand(self._extended_shape(sample_shape)[:-1]).unsqueeze(-1)
        b = m / (2 * kappa + (4 * kappa**2 + m**2).sqrt())
        half = torch.full_like(kappa, m / 2).expand(*kappa.shape[:-1], PROPOSALS)
        one, other = torch._standard_gamma(half), torch._standard_gamma(half)
        beta = one / (one + other)
        away, away0 = 2 * b * beta / (1 - (1 - b) * beta), 2 * b / (1 + b)
        cosine0 = (1 - b) / (1 + b)
        log_accept = (
            kappa * (away0 - away) + m * ((away0 + cosine0 * away) / (away0 * (1 + cosine0))).log()
        )
        first = (log_accept >= torch.rand_like(away).log()).int().argmax(-1, keepdim=True)
        return away.gather(-1, first).squeeze(-1)

    def _slope(self, away: Tensor, nodes: int = 96) -> Tensor:
        """d(1 - t)/dκ at a fixed value of the distribution function, by Gauss-Legendre quadrature in u."""
        x, weight = (
            torch.as_tensor(a, dtype=away.dtype, device=away.device) for a in leggauss(nodes)
        )
        away = away.clamp(torch.finfo(away.dtype).tiny, 2 - 2 * torch.finfo(away.dtype).eps)
        end = (torch.log1p(-away / 2) - (away / 2).log()) / 2
        mode, width = self._mode()
        reach = width * (8 + 30 / math.sqrt(self.event_shape[0] - 1))
        # the mass beyond the draw, on the side of it that is away from the mode
        sign = torch.where(end > mode, 1.0, -1.0).to(away.dtype)
        u = end.unsqueeze(-1) + (sign * reach / 2).unsqueeze(-1) * (x + 1)
        log_f = self._exponent(u) - self._log_normaliser().unsqueeze(-1)
        mean_away = 1 - self._mean_cosine()
        excess = mean_away.unsqueeze(-1) - 2 * torch.sigmoid(-2 * u)
        mass = (reach / 2) * (weight * log_f.exp() * excess).sum(-1)
        log_end = self._exponent(end.unsqueeze(-1)).squeeze(-1) - self._log_normaliser()
        slope_u = sign * mass * (-log_end).exp()
        return -slope_u * away * (2 - away)


def _normalised(a: Tensor) -> Tensor:
    """Of length one; the first axis, where it has no length."""
    norm = a.square().sum(-1, keepdim=True).clamp(min=1e-30).sqrt()
    first = torch.zeros_like(a)
    first[..., 0] = 1
    return torch.where(norm > 1e-12, a / norm.clamp(min=1e-12), first)


def _noise(like: Tensor, shape: Size) -> Tensor:
    return torch.randn(shape, dtype=like.dtype, device=like.device)


def _check_dimension(loc: Tensor) -> None:
    if loc.dim() < 1 or loc.shape[-1] < 2:
        raise ValueError(
            f"loc: a sphere needs vectors of at least 2 dimensions, got shape {tuple(loc.shape)}"
        )


@register_kl(PowerSpherical, UniformSphere)
@register_kl(VonMisesFisher, UniformSphere)
def _kl_to_uniform(q: _Zonal, p: UniformSphere) -> Tensor:
    return q.kl_to_uniform()
