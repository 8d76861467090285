"""Families over directions, the unit sphere of R^d."""

from typing import ClassVar

import pyro.distributions as dist
import torch
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.conditionals.family import Family
from pyro_vae.conditionals.shapes import ShapeLike, drop_last
from pyro_vae.networks import Shape


def _is_sphere(event: Shape) -> bool:
    return len(event) > 0 and event[-1] >= 2


def _refuse(event: Shape) -> str:
    return (
        f"expected an event_shape whose last dimension is at least 2, got {event}; "
        "a latent of d numbers lies on the sphere in R^d"
    )


def _one_for_each_sphere(event: Shape) -> Shape:
    spheres = drop_last(event)
    if not _is_sphere(event):
        raise ValueError(_refuse(event))

    return spheres


class PowerSpherical(Family):
    r"""p(a | b), power spherical: directions around one, on the unit sphere of R^d.

    .. math:: p(a) \propto (1 + \mu^\top a)^\kappa

    It is reparametrised, fast, and stable at any κ. It has a closed KL to `UniformSphere`, its
    usual prior. An event of several dimensions has a sphere for each entry of all but the last.
    Free parameters start at random, because the zero vector is no direction. (De Cao & Aziz, 2020)

    Use:
        prior: directions around one that is learned.
        likelihood: directions, such as normalised embeddings, or the wind.
        variational: directions, where it is the first choice.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`. The last dimension is d, at
            least 2.
        net: Builds the network, see `networks`.
        loc: μ, `[*event]`, scaled to length one. It is computed by the network, or fixed by giving
            it.
        concentration: κ, `[*event without the last]`, above 0. It is computed by the network, or
            fixed by giving it.

    Raises:
        ValueError: if d is below 2.

    Example:
        >>> PowerSpherical(3, given=20)
        PowerSpherical((3,) | (20,))
    """

    distribution = distributions.PowerSpherical
    parameter_shapes: ClassVar = {"loc": None, "concentration": _one_for_each_sphere}
    starts_at_random = True


class VonMisesFisher(Family):
    r"""p(a | b), von Mises-Fisher: the normal distribution of the unit sphere of R^d.

    .. math:: p(a) = C_d(\kappa) \, e^{\kappa \mu^\top a}

    It is the q of the S-VAE. It is reparametrised, implicitly, so that no objective needs a
    correction term. It has a closed KL to `UniformSphere`, and it is exported like any other. A
    draw costs a few times one of `PowerSpherical`. Free parameters start at random, because the
    zero vector is no direction. See `distributions.VonMisesFisher`. (Davidson, Falorsi, De Cao,
    Kipf & Tomczak, 2018)

    Use:
        prior: directions around one that is learned.
        likelihood: directions, scored by their cosine.
        variational: directions, as the S-VAE has them. It is slower than `PowerSpherical`.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`. The last dimension is d, at
            least 2.
        net: Builds the network, see `networks`.
        loc: μ, `[*event]`, scaled to length one. It is computed by the network, or fixed by giving
            it.
        concentration: κ, `[*event without the last]`, above 0. It is computed by the network, or
            fixed by giving it.

    Raises:
        ValueError: if d is below 2.

    Example:
        >>> VonMisesFisher(3, given=20)
        VonMisesFisher((3,) | (20,))
    """

    distribution = distributions.VonMisesFisher
    parameter_shapes: ClassVar = {"loc": None, "concentration": _one_for_each_sphere}
    starts_at_random = True


class UniformSphere(Conditional):
    r"""The uniform distribution on the unit sphere of R^d, with nothing to learn.

    .. math:: p(a) = \frac{\Gamma(d/2)}{2 \pi^{d/2}}

    It is the prior of the S-VAE. (Davidson, Falorsi, De Cao, Kipf & Tomczak, 2018)

    Use:
        prior: directions, none of them preferred, with `PowerSpherical` or `VonMisesFisher` as q.

    Arguments:
        event_shape: The shape of an event. An int is a vector. The last dimension is d, at least 2.

    Raises:
        ValueError: if d is below 2.

    Example:
        >>> UniformSphere(3)
        UniformSphere((3,))
        >>> UniformSphere(3)().log_prob(torch.tensor([0.0, 0.0, 1.0])).exp()
        tensor(0.0796)
    """

    centre: torch.Tensor

    def __init__(self, event_shape: ShapeLike):
        super().__init__(event_shape)

        if not _is_sphere(self.event_shape):
            raise ValueError(f"UniformSphere: {_refuse(self.event_shape)}")
        self.register_buffer("centre", torch.zeros(self.event_shape))

    @property
    def support(self) -> constraints.Constraint:
        return self().support

    def forward(self) -> dist.TorchDistribution:
        p = distributions.UniformSphere(self.centre)

        return self._check_shapes(p.to_event(len(self.event_shape) - 1), ())
