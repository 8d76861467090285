"""Families over proportions, which add up to one."""

from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor

from pyro_vae import distributions
from pyro_vae.arguments import check_positive, check_whole
from pyro_vae.conditionals.family import Family
from pyro_vae.conditionals.real import Normal
from pyro_vae.conditionals.shapes import as_vector
from pyro_vae.networks import Shape


class Dirichlet(Family):
    r"""p(a | b), Dirichlet: positive numbers that add up to one over the last dimension.

    .. math:: p(a) = \frac{\Gamma(\sum_k \alpha_k)}{\prod_k \Gamma(\alpha_k)} \prod_k a_k^{\alpha_k
        - 1}

    Draws are reparametrised, implicitly. As a prior fix it, `Dirichlet(10, concentration=0.3)`.
    (Figurnov, Mohamed & Mnih, 2018; Joo, Lee, Park & Moon, 2020)

    Use:
        prior: proportions. An α below one makes most of them small.
        likelihood: proportions that add up to one, without an exact 0.
        variational: proportions, with a closed KL to a Dirichlet prior.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`.
        net: Builds the network, see `networks`.
        concentration: α, `[*event]`, above 0. It is computed by the network, or fixed by giving it.

    Raises:
        ValueError: if an event is a single number, not a vector.

    Example:
        >>> Dirichlet(10, concentration=0.5)
        Dirichlet((10,), concentration=0.5)
    """

    distribution = distributions.Dirichlet
    parameter_shapes: ClassVar = {"concentration": as_vector}


def _sticks(event: Shape) -> Shape:
    """K - 1 numbers for each vector of K proportions."""
    *rows, classes = as_vector(event)
    if classes < 2:
        raise ValueError(
            f"expected an event_shape whose last dimension is at least 2, got {event}; "
            "a single proportion is always 1"
        )

    return (*rows, classes - 1)


class LogisticNormal(Family):
    r"""p(a | b), logistic-normal: a normal of K - 1 numbers, brought to the simplex of K by
    breaking a stick.

    .. math:: \log \frac{(K - k) \, a_k}{1 - \sum_{j \le k} a_j} \sim N(\mu_k, \sigma_k^2), \qquad k
        < K

    At μ = 0 its middle is 1/K each. Draws are reparametrised. (Aitchison, 1982; Linderman, Johnson
    & Adams, 2015)

    Use:
        prior: proportions, such as those of topics, without the Dirichlet's sharp corners.
        likelihood: proportions that add up to one, with a single mode.
        variational: proportions, quicker and steadier than the Dirichlet.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`. The last dimension is K, at
            least 2.
        net: Builds the network, see `networks`.
        loc, scale: μ and σ, with K - 1 in the last dimension. Each is computed by the network, or
            fixed by giving it.

    Raises:
        ValueError: if an event is a single number, or K is below 2.

    Example:
        >>> LogisticNormal(10, given=20)
        LogisticNormal((10,) | (20,))
    """

    distribution = dist.LogisticNormal
    parameter_shapes: ClassVar = {"loc": _sticks, "scale": _sticks}


def approximate_dirichlet(size: int, concentration: float | Tensor = 1.0) -> Family:
    r"""A normal prior of numbers whose softmax is about Dirichlet, by Laplace's approximation.

    .. math:: \mu_k = \log \alpha_k - \frac{1}{K} \sum_j \log \alpha_j, \qquad \sigma_k^2 =
        \frac{1}{\alpha_k} \Bigl( 1 - \frac{2}{K} \Bigr) + \frac{1}{K^2} \sum_j \frac{1}{\alpha_j}

    The approximation is made in the softmax's basis, where even a small α has a mode. Its
    covariance is nearly diagonal for many classes, and taken as diagonal. (MacKay, 1998; Hennig,
    Stern, Herbrich & Graepel, 2012; Srivastava & Sutton, 2017)

    Arguments:
        size: The number of proportions, K, at least 2.
        concentration: α, one number above 0 for all, or one for each, `[K]`.

    Returns:
        A `Normal` of K numbers with fixed location and scale.

    Raises:
        TypeError: if `size` is no whole number.
        ValueError: if `size` is below 2, or `concentration` is not positive or of another shape.

    Example:
        >>> approximate_dirichlet(50, 1.0)
        Normal((50,), loc=0.0, scale=0.98994...)
    """
    size = check_whole("size", size, least=2)
    if not isinstance(concentration, Tensor):
        inverse = 1 / check_positive("concentration", concentration)
        return Normal(size, loc=0.0, scale=(inverse * (1 - 1 / size)) ** 0.5)

    alpha = concentration.detach()
    if alpha.shape != (size,) or not bool(((alpha > 0) & alpha.isfinite()).all()):
        raise ValueError(
            f"concentration: expected a positive number or {size} of them, got {concentration}"
        )
    loc = alpha.log() - alpha.log().mean()
    variance = (1 - 2 / size) / alpha + (1 / alpha).sum() / size**2

    return Normal(size, loc=loc, scale=variance.sqrt())
