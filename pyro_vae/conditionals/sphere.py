"""Families on the unit sphere of R^d, for latents that are directions."""

import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.conditionals.family import Conditional, ShapeLike, family


def _spheres(event: tuple[int, ...]) -> tuple[int, ...]:
    return (*event[:-1], event[-1])[:-1]


class _OnSpheres:
    """Checks that there is a sphere, and starts free directions at random, for the zero vector is none."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)

        _check_sphere(self)
        if self.raw is not None:
            nn.init.normal_(self.raw)


class PowerSpherical(
    _OnSpheres, family(distributions.PowerSpherical, "loc", concentration=_spheres)
):
    r"""p(a | b), power spherical: an a of d numbers lies on the unit sphere of R^d, around a
    direction.

    .. math:: p(a) \propto (1 + \mu^\top a)^\kappa

    Reparametrised, fast, and stable at any κ, with a closed KL to `UniformSphere`, its usual prior.
    An event of several dimensions is a sphere for each entry of all but the last. (De Cao & Aziz,
    2020)

    Use:
        prior: directions around one that is learned.
        likelihood: directions: normalised embeddings, the wind.
        variational: directions; the first choice on the sphere.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`; the last dimension is d, at
            least 2.
        net: Builds the network, see `networks`.
        loc: μ, `[*event]`, scaled to length one; by default from the network.
        concentration: κ, `[*event without the last]`, above 0; by default from the network.

    Raises:
        ValueError: if d is below 2.

    Example:
        >>> PowerSpherical(3, given=20)
        PowerSpherical((3,) | (20,))
    """


class VonMisesFisher(
    _OnSpheres, family(distributions.VonMisesFisher, "loc", concentration=_spheres)
):
    r"""p(a | b), von Mises-Fisher: the normal distribution of the unit sphere of R^d, the q of the
    S-VAE.

    .. math:: p(a) = C_d(\kappa) \, e^{\kappa \mu^\top a}

    Reparametrised (implicitly, so that no objective needs a correction term), with a closed KL to
    `UniformSphere`, and exported like any other; a draw costs a few times one of `PowerSpherical`.
    (Davidson, Falorsi, De Cao, Kipf & Tomczak, 2018; see `distributions.VonMisesFisher`)

    Use:
        prior: directions around one that is learned.
        likelihood: directions, scored by their cosine.
        variational: directions, as the S-VAE has them; slower than `PowerSpherical`.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`; the last dimension is d, at
            least 2.
        net: Builds the network, see `networks`.
        loc: μ, `[*event]`, scaled to length one; by default from the network.
        concentration: κ, `[*event without the last]`, above 0; by default from the network.

    Raises:
        ValueError: if d is below 2.

    Example:
        >>> VonMisesFisher(3, given=20)
        VonMisesFisher((3,) | (20,))
    """


class UniformSphere(Conditional):
    r"""The uniform distribution on the unit sphere of R^d, with nothing to learn; the prior of the
    S-VAE.

    .. math:: p(a) = \frac{\Gamma(d/2)}{2 \pi^{d/2}}

    (Davidson, Falorsi, De Cao, Kipf & Tomczak, 2018)

    Use:
        prior: directions, none of them preferred; with `PowerSpherical` or `VonMisesFisher` as q.

    Arguments:
        event_shape: The shape of an event; an int is a vector. The last dimension is d, at least 2.

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

        _check_sphere(self)
        self.register_buffer("centre", torch.zeros(self.event_shape))

    @property
    def support(self) -> constraints.Constraint:
        return self().support

    def forward(self) -> dist.TorchDistribution:
        p = distributions.UniformSphere(self.centre)

        return self._checked(p.to_event(len(self.event_shape) - 1), ())


def _check_sphere(conditional: Conditional) -> None:
    if not conditional.event_shape or conditional.event_shape[-1] < 2:
        raise ValueError(
            f"{type(conditional).__name__}: expected an event_shape whose last dimension is at least 2, got "
            f"{conditional.event_shape}; a latent of d numbers lies on the sphere in R^d"
        )
