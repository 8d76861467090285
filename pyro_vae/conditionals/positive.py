"""Families over the positive numbers."""

import pyro.distributions as dist

from pyro_vae.conditionals.family import family

Gamma = family(
    dist.Gamma,
    "concentration",
    "rate",
    doc=r"""
    .. math:: p(a) = \frac{\beta^\alpha}{\Gamma(\alpha)} \, a^{\alpha - 1} e^{-\beta a}

    Draws are reparametrised, implicitly. (Johnson, Kotz & Balakrishnan, 1994)

    Use:
        prior: positive latents, such as rates, or loadings that only add.
        likelihood: positive values: durations, amounts, intensities.
        variational: positive latents.
    """,
)
