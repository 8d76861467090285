"""Families over angles."""

from pyro_vae import distributions
from pyro_vae.conditionals.family import family

VonMises = family(
    distributions.VonMises,
    "loc",
    "concentration",
    doc=r"""
    .. math:: p(a) = \frac{e^{\kappa \cos(a - \mu)}}{2 \pi I_0(\kappa)}

    (Von Mises, 1918)

    Use:
        likelihood: angles in radians, within [-π, π].
    """,
)
