"""Families over the numbers between 0 and 1."""

from pyro_vae import distributions
from pyro_vae.conditionals.family import family

Beta = family(
    distributions.Beta,
    "concentration1",
    "concentration0",
    doc=r"""
    .. math:: p(a) \propto a^{\alpha - 1} (1 - a)^{\beta - 1}

    Draws are reparametrised, implicitly. (Johnson, Kotz & Balakrishnan, 1995)

    Use:
        prior: latents in (0, 1), also those that crowd at both ends.
        likelihood: values strictly within (0, 1), such as shares. Move exact 0 and 1 off the edge.
        variational: latents in (0, 1).
    """,
)

LogitNormal = family(
    distributions.LogitNormal,
    "loc",
    "scale",
    doc=r"""
    .. math:: \mathrm{logit}\, a \sim N(\mu, \sigma^2)

    (Aitchison & Shen, 1980)

    Use:
        prior: latents in (0, 1).
        likelihood: values strictly within (0, 1), with a single mode or two.
        variational: a reparametrised q in (0, 1).
    """,
)

ContinuousBernoulli = family(
    distributions.ContinuousBernoulli,
    "logits",
    doc=r"""
    .. math:: p(a) = C(\eta) \, e^{\eta a}, \qquad C(\eta) = \frac{\eta}{e^\eta - 1}

    (Loaiza-Ganem & Cunningham, 2019)

    Use:
        likelihood: grey values in [0, 1] with the ends included. The Bernoulli is not normalised
            on them.
    """,
)
