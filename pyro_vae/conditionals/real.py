"""Families over the real numbers."""

from collections.abc import Collection
from typing import ClassVar

import pyro.distributions as dist
import torch  # noqa: F401  for the examples
from torch import Tensor

from pyro_vae.conditionals.constrain import shrink
from pyro_vae.conditionals.family import Family, family
from pyro_vae.conditionals.shapes import ShapeLike, as_vector, square
from pyro_vae.networks import Shape

LARGEST_FACTOR = 300.0

Normal = family(
    dist.Normal,
    "loc",
    "scale",
    doc=r"""
    .. math:: p(a) = \frac{1}{\sqrt{2 \pi} \, \sigma} \, e^{-(a - \mu)^2 / 2 \sigma^2}

    (Kingma & Welling, 2014)

    Use:
        prior: where location and scale are to be learned. Otherwise take `StandardNormal`.
        likelihood: real values with noise. `scale=0.1` fixes σ, `scale="shared"` learns one, "free"
            learns one for each pixel.
        variational: the first choice, fast and robust. It misses correlations between the latents.
    """,
)

Laplace = family(
    dist.Laplace,
    "loc",
    "scale",
    doc=r"""
    .. math:: p(a) = \frac{1}{2 s} \, e^{-|a - m| / s}

    (Laplace, 1774)

    Use:
        prior: sparse latents, most of them near zero.
        likelihood: real values with outliers, scored by their absolute distance.
        variational: where the posterior has heavier tails than the normal.
    """,
)

Logistic = family(
    dist.Logistic,
    "loc",
    "scale",
    doc=r"""
    .. math:: p(a) = \frac{e^{-(a - m) / s}}{s \, (1 + e^{-(a - m) / s})^2}

    A `RelaxedBernoulli` of temperature τ and logit ℓ is the sigmoid of a logistic with m = ℓ / τ
    and s = 1 / τ. On this scale no draw is lost to rounding, however sure it is. The decoder may
    take the sigmoid itself. (Maddison, Mnih & Teh, 2017)

    Use:
        prior: for a logistic q.
        variational: relaxed binary latents on the scale of their logits, with `scale=2.0` for a
            temperature of 0.5.
    """,
)

StudentT = family(
    dist.StudentT,
    "df",
    "loc",
    "scale",
    doc=r"""
    .. math:: p(a) \propto \Bigl(1 + \frac{(a - m)^2}{\nu s^2}\Bigr)^{-(\nu + 1) / 2}

    (Student, 1908)

    Use:
        prior: latents with heavy tails, such as clusters that lie far apart.
        likelihood: real values with gross outliers.
        variational: for importance sampling. Tails above those of the posterior keep the weights
            bounded.
    """,
)

MultivariateNormal = family(
    dist.MultivariateNormal,
    "loc",
    scale_tril=square,
    doc=r"""
    .. math:: a \sim N(\mu, L L^\top)

    (Titsias & Lázaro-Gredilla, 2014)

    Use:
        prior: correlated latents.
        likelihood: few real values with correlated noise.
        variational: where the posterior of up to some tens of latents is correlated. It is best
            with sticking the landing.
    """,
)


def _factor(event: Shape, rank: int) -> Shape:
    return (*as_vector(event), rank)


class LowRankNormal(Family):
    r"""p(a | b), a normal with covariance W Wᵀ + D, where W has `rank` columns.

    .. math:: a \sim N(\mu, W W^\top + D)

    A computed W is held to 300 times √D in norm. Beyond that float32 no longer tells D from zero.
    Free parameters start at random, because at W = 0 the gradient of W is zero and stays so. (Ong,
    Nott & Smith, 2018)

    Use:
        prior: many latents with a few common causes.
        likelihood: real values with noise that is correlated along a few directions.
        variational: where the posterior of many latents is correlated along a few directions.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`.
        net: Builds the network, see `networks`.
        rank: The number of columns of W.
        loc, cov_diag, cov_factor: μ, the diagonal of D, and W, of shape `[*event, rank]`. Each is
            computed by the network, or fixed by giving it.

    Example:
        >>> LowRankNormal(20, given=(1, 28, 28), rank=2)
        LowRankNormal((20,) | (1, 28, 28), rank=2)
    """

    distribution = dist.LowRankMultivariateNormal
    parameter_shapes: ClassVar = {"loc": None, "cov_diag": None, "cov_factor": _factor}
    starts_at_random = True

    @staticmethod
    def adjust(values: dict[str, Tensor], computed: Collection[str]) -> dict[str, Tensor]:
        """Hold a computed W to a norm that float32 can tell from infinity, beside √D."""
        if "cov_factor" not in computed:
            return values

        factor = shrink(values["cov_factor"], LARGEST_FACTOR, dims=2)
        root = values["cov_diag"].sqrt().unsqueeze(-1)

        return {**values, "cov_factor": root * factor}


class StandardNormal(Normal):  # type: ignore[misc, valid-type]
    r"""N(0, I), with nothing to learn.

    .. math:: p(a) = N(a; 0, I)

    Its numbers are buffers and follow the module to a device. (Kingma & Welling, 2014)

    Use:
        prior: the first choice, and the one that others are compared to.

    Arguments:
        event_shape: The shape of an event. An int is a vector.

    Example:
        >>> StandardNormal(20)
        StandardNormal((20,))
        >>> StandardNormal(20)().event_shape
        torch.Size([20])
    """

    defaults: ClassVar = {"loc": 0.0, "scale": 1.0}

    def __init__(self, event_shape: ShapeLike):
        super().__init__(event_shape)

    def options(self) -> dict[str, object]:
        return {}
