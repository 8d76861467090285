"""Conditional distributions p(a | b): modules whose call returns a Pyro distribution.

Prior, likelihood and variational are three uses of the same thing, so every family serves in all three roles.
"""

from pyro_vae.conditionals.family import Conditional, Family, family
from pyro_vae.conditionals.flows import Flow
from pyro_vae.conditionals.mixtures import Mixture, Vamp
from pyro_vae.conditionals.table import (
    Bernoulli,
    Beta,
    Categorical,
    ContinuousBernoulli,
    Gamma,
    Laplace,
    LowRankNormal,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StandardNormal,
    StudentT,
)

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Conditional",
    "ContinuousBernoulli",
    "Family",
    "Flow",
    "Gamma",
    "Laplace",
    "LowRankNormal",
    "Mixture",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "StandardNormal",
    "StudentT",
    "Vamp",
    "family",
]
