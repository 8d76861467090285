"""What densities on the unit sphere of R^d share."""

import math
from typing import ClassVar

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor


def log_area(d: int) -> float:
    r"""The logarithm of the area of the unit sphere of R^d, :math:`2 \pi^{d/2} / \Gamma(d/2)`.

    Example:
        >>> round(math.exp(log_area(3)) / math.pi, 6)
        4.0
    """
    return math.log(2) + 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d)


class Zonal(TorchDistribution):
    """A density that depends on z through t = μᵀz alone.

    t is drawn first, and then a direction at random across μ. A subclass says how 1 - t is drawn
    and what the density at it is.

    Arguments:
        loc: μ, `[*batch, d]`, scaled to length one. Where it is zero, the first axis is taken.
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
        check_dimension(loc)

        batch = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = normalise(loc).expand(batch + loc.shape[-1:])
        self.concentration = concentration.expand(batch)
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance=None):
        batch = Size(batch_shape)

        new = self._get_checked_instance(type(self), _instance)
        new.loc = self.loc.expand(batch + self.event_shape)
        new.concentration = self.concentration.expand(batch)
        TorchDistribution.__init__(new, batch, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args

        return new

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        noise = draw_noise(self.loc, self._extended_shape(sample_shape))
        along = (noise * self.loc).sum(-1, keepdim=True) * self.loc
        across = normalise(noise - along)

        away = self.draw_away(Size(sample_shape)).unsqueeze(-1)
        sine = find_sine(away)

        return normalise((1 - away) * self.loc + sine * across)

    def log_prob(self, value: Tensor) -> Tensor:
        away = (value - self.loc).square().sum(-1) / 2

        return self.log_density(away)

    @property
    def mean(self) -> Tensor:
        return self.mean_cosine().unsqueeze(-1) * self.loc

    def entropy(self) -> Tensor:
        return log_area(self.event_shape[0]) - self.kl_to_uniform()

    def kl_to_uniform(self) -> Tensor:
        """KL from this to the uniform distribution, in nats, `[*batch]`."""
        raise NotImplementedError

    def draw_away(self, sample_shape: Size) -> Tensor:
        """Draws of 1 - t, reparametrised."""
        raise NotImplementedError

    def log_density(self, away: Tensor) -> Tensor:
        """log p(z) at 1 - t."""
        raise NotImplementedError

    def mean_cosine(self) -> Tensor:
        """The mean of t."""
        raise NotImplementedError


def normalise(a: Tensor) -> Tensor:
    """Vectors scaled to length one. One without a length becomes the first axis."""
    norm = a.square().sum(-1, keepdim=True).clamp(min=1e-30).sqrt()
    first_axis = torch.zeros_like(a)
    first_axis[..., 0] = 1
    unit = a / norm.clamp(min=1e-12)

    return torch.where(norm > 1e-12, unit, first_axis)


def find_sine(away: Tensor) -> Tensor:
    """The sine of an angle, from one minus its cosine. It is never exactly zero."""
    tiny = torch.finfo(away.dtype).tiny

    return (away * (2 - away)).clamp(min=tiny).sqrt()


def draw_noise(like: Tensor, shape: Size) -> Tensor:
    """Standard normal numbers of the type and device of a tensor."""
    return torch.randn(shape, dtype=like.dtype, device=like.device)


def check_dimension(loc: Tensor) -> None:
    """Raise a ValueError unless the last dimension can be that of a sphere."""
    if loc.dim() < 1 or loc.shape[-1] < 2:
        raise ValueError(
            f"loc: a sphere needs vectors of at least 2 dimensions, got shape {tuple(loc.shape)}"
        )
