"""Directions: distributions on the unit sphere of R^d."""

import math
from typing import ClassVar

import torch
from numpy.polynomial.legendre import leggauss
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import register_kl

from pyro_vae.distributions.zonal import (
    Zonal,
    check_dimension,
    draw_noise,
    log_area,
    normalise,
)

PROPOSALS = 32  # each is accepted with a probability of at least about 0.66
NODES = 96  # of the quadrature for the gradient of a draw
STEP = 0.3  # between points of the trapezoidal rule, in widths of the integrand


class UniformSphere(TorchDistribution):
    r"""The uniform distribution on the unit sphere of R^d.

    .. math:: p(z) = \frac{\Gamma(d/2)}{2 \pi^{d/2}}

    Arguments:
        centre: Zeros, `[*batch, d]`. The draws have their shape, type and device.

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
        check_dimension(centre)
        self.centre = centre
        super().__init__(centre.shape[:-1], centre.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance=None) -> "UniformSphere":
        return UniformSphere(
            self.centre.expand(Size(batch_shape) + self.event_shape), validate_args=False
        )

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        noise = draw_noise(self.centre, self._extended_shape(sample_shape))

        return normalise(noise)

    def log_prob(self, value: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)

        return (self._zeros() - log_area(self.event_shape[0])).expand(lead)

    def entropy(self) -> Tensor:
        return self._zeros() + log_area(self.event_shape[0])

    def _zeros(self) -> Tensor:
        return 0 * self.centre.sum(-1)


class PowerSpherical(Zonal):
    r"""The power spherical distribution: like the von Mises-Fisher, and faster to draw and
    differentiate.

    .. math:: p(z) \propto (1 + \mu^\top z)^\kappa, \qquad
        \mu^\top z = 2 b - 1, \; b \sim \mathrm{Beta}(\tfrac{d-1}{2} + \kappa, \tfrac{d-1}{2})

    It is reparametrised. Its normaliser, its entropy and its KL to the uniform are closed. (De Cao
    & Aziz, 2020)

    Arguments:
        loc: μ, `[*batch, d]`, scaled to length one. Where it is zero, the first axis is taken.
        concentration: κ, `[*batch]`, above zero.

    Raises:
        ValueError: if d is less than 2.

    Example:
        >>> q = PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(2.0))
        >>> q.mean
        tensor([0.0000, 0.0000, 0.5000])
    """

    def draw_away(self, sample_shape: Size) -> Tensor:
        shape = sample_shape + self.batch_shape
        near, far = (torch._standard_gamma(g.expand(shape)) for g in self._ab())

        return 2 * far / (near + far)

    def log_density(self, away: Tensor) -> Tensor:
        _, b = self._ab()
        eps = torch.finfo(away.dtype).eps
        log_half = torch.log1p((-away / 2).clamp(min=-1 + eps))  # of (1 + t) / 2
        log_power = self.concentration * log_half

        return log_power - 2 * b * math.log(2) - b * math.log(math.pi) - self._log_ratio()

    def mean_cosine(self) -> Tensor:
        a, b = self._ab()

        return (a - b) / (a + b)

    def kl_to_uniform(self) -> Tensor:
        a, b = (t.double() for t in self._ab())
        mean_log_half = (torch.digamma(a) - torch.digamma(a + b)).to(self.loc.dtype)
        at_mean = self.concentration * mean_log_half - self._log_ratio()
        d = self.event_shape[0]

        return at_mean - (d - 1) / 2 * math.log(4 * math.pi) + log_area(d)

    def _ab(self) -> tuple[Tensor, Tensor]:
        """The two concentrations of the beta distribution of (1 + t) / 2."""
        b = torch.full_like(self.concentration, (self.event_shape[0] - 1) / 2)

        return self.concentration + b, b

    def _log_ratio(self) -> Tensor:
        """log Γ(a) - log Γ(a + b), which single precision cannot subtract."""
        a, b = (t.double() for t in self._ab())
        ratio = torch.lgamma(a) - torch.lgamma(a + b)

        return ratio.to(self.loc.dtype)


class VonMisesFisher(Zonal):
    r"""The von Mises-Fisher distribution, the normal distribution of the sphere.

    .. math:: p(z) \propto e^{\kappa \mu^\top z}, \qquad
        \int_{-1}^{1} e^{\kappa t} (1 - t^2)^{(d-3)/2} dt = \int e^{\kappa \tanh u} \cosh^{1-d}(u)
        \, du

    The normaliser is the second integral. The trapezoidal rule around its mode is exact to rounding
    for any κ and d, and needs no Bessel function. t = μᵀz is the first accepted of 32 proposals of
    Ulrich's scheme, so that no loop stands in the way of an export. The probability that none is
    accepted is near 1e-15. The gradient of t in κ is implicit, by quadrature, and needs no
    correction term in the objective. (Ulrich, 1984; Wood, 1994; Davidson, Falorsi, De Cao, Kipf &
    Tomczak, 2018; Figurnov, Mohamed & Mnih, 2018)

    Arguments:
        loc: μ, `[*batch, d]`, scaled to length one. Where it is zero, the first axis is taken.
        concentration: κ, `[*batch]`, above zero.

    Raises:
        ValueError: if d is less than 2.

    Example:
        >>> q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(2.0))
        >>> round(q.mean[2].item(), 4), round(1 / math.tanh(2) - 1 / 2, 4)
        (0.5373, 0.5373)
    """

    def log_density(self, away: Tensor) -> Tensor:
        across = log_area(self.event_shape[0] - 1)

        return -self.concentration * away - self._log_normaliser() - across

    def mean_cosine(self) -> Tensor:
        u, _ = self._grid()
        weights = self._exponent(u).softmax(-1)

        return (weights * u.tanh()).sum(-1)

    def kl_to_uniform(self) -> Tensor:
        d = self.event_shape[0]
        u, _ = self._grid()
        weights = self._exponent(u).softmax(-1)
        mean_away = (weights * 2 * torch.sigmoid(-2 * u)).sum(-1)
        at_mean = -self.concentration * mean_away - self._log_normaliser()

        return at_mean - log_area(d - 1) + log_area(d)

    def _mode(self) -> tuple[Tensor, Tensor]:
        """Where the integrand over u has its mode, and its width there."""
        kappa = self.concentration.detach()
        m = self.event_shape[0] - 1
        ratio = 2 / (m + (m**2 + 4 * kappa**2).sqrt())
        t = kappa * ratio

        mode = ((1 + t).square() / (m * ratio)).log() / 2
        width = (m * ratio * (2 * kappa * t + m)).rsqrt()

        return mode, width

    def _grid(self) -> tuple[Tensor, Tensor]:
        """Points u `[*batch, m]` and the logarithm of their distance."""
        mode, width = self._mode()
        reach = 10 + 50 / math.sqrt(self.event_shape[0] - 1)
        x = torch.arange(-reach, reach, STEP, dtype=mode.dtype, device=mode.device)
        u = mode.unsqueeze(-1) + width.unsqueeze(-1) * x

        return u, (STEP * width).log()

    def _exponent(self, u: Tensor) -> Tensor:
        """The logarithm of the integrand over u, less κ."""
        log_cosh = u.abs() + torch.log1p(torch.exp(-2 * u.abs())) - math.log(2)
        kappa = self.concentration.unsqueeze(-1)
        m = self.event_shape[0] - 1

        return -2 * kappa * torch.sigmoid(-2 * u) - m * log_cosh

    def _log_normaliser(self) -> Tensor:
        u, log_step = self._grid()

        return self._exponent(u).logsumexp(-1) + log_step

    def draw_away(self, sample_shape: Size) -> Tensor:
        kappa = self.concentration
        with torch.no_grad():
            away = self._propose(sample_shape)
            slope = self._slope(away) if kappa.requires_grad else torch.zeros_like(away)

        return away + slope * (kappa - kappa.detach())

    def _propose(self, sample_shape: Size) -> Tensor:
        """The first accepted of many proposals of 1 - t."""
        m = self.event_shape[0] - 1
        lead = self._extended_shape(sample_shape)[:-1]
        kappa = self.concentration.expand(lead).unsqueeze(-1)
        b = m / (2 * kappa + (4 * kappa**2 + m**2).sqrt())

        half = torch.full_like(kappa, m / 2).expand(*lead, PROPOSALS)
        one, other = torch._standard_gamma(half), torch._standard_gamma(half)
        beta = one / (one + other)
        away = 2 * b * beta / (1 - (1 - b) * beta)

        cosine0 = (1 - b) / (1 + b)
        away0 = 2 * b / (1 + b)
        ratio = (away0 + cosine0 * away) / (away0 * (1 + cosine0))
        log_accept = kappa * (away0 - away) + m * ratio.log()
        is_accepted = log_accept >= torch.rand_like(away).log()
        first = is_accepted.int().argmax(-1, keepdim=True)

        return away.gather(-1, first).squeeze(-1)

    def _slope(self, away: Tensor) -> Tensor:
        """d(1 - t)/dκ at a fixed value of the distribution function.

        It is computed by Gauss-Legendre quadrature in u.
        """
        finfo = torch.finfo(away.dtype)
        away = away.clamp(finfo.tiny, 2 - 2 * finfo.eps)
        end = (torch.log1p(-away / 2) - (away / 2).log()) / 2
        log_normaliser = self._log_normaliser()

        # the mass beyond the draw, on its side away from the mode
        u, weight, sign = self._nodes_beyond(end)
        log_f = self._exponent(u) - log_normaliser.unsqueeze(-1)
        mean_away = 1 - self.mean_cosine()
        excess = mean_away.unsqueeze(-1) - 2 * torch.sigmoid(-2 * u)
        mass = self._half_reach() * (weight * log_f.exp() * excess).sum(-1)

        log_end = self._exponent(end.unsqueeze(-1)).squeeze(-1) - log_normaliser
        slope_u = sign * mass * (-log_end).exp()

        return -slope_u * away * (2 - away)

    def _nodes_beyond(self, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points u beyond the end, their weights, and on which side of the mode the end is."""
        x, weight = (
            torch.as_tensor(a, dtype=end.dtype, device=end.device) for a in leggauss(NODES)
        )
        mode, _ = self._mode()
        sign = torch.where(end > mode, 1.0, -1.0).to(end.dtype)
        u = end.unsqueeze(-1) + (sign * self._half_reach()).unsqueeze(-1) * (x + 1)

        return u, weight, sign

    def _half_reach(self) -> Tensor:
        """Half the length of u that holds the mass beyond a draw."""
        _, width = self._mode()

        return width * (8 + 30 / math.sqrt(self.event_shape[0] - 1)) / 2


@register_kl(PowerSpherical, UniformSphere)
@register_kl(VonMisesFisher, UniformSphere)
def _kl_to_uniform(q: Zonal, p: UniformSphere) -> Tensor:
    return q.kl_to_uniform()
