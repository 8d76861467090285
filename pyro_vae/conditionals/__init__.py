"""Conditional distributions p(a | b): modules whose call returns a Pyro distribution.

Prior, likelihood and variational are three uses of the same thing, so every family serves in all three roles.
"""

from pyro_vae.conditionals.columns import Columns
from pyro_vae.conditionals.discrete import Autoregressive, RelaxedBernoulli, RelaxedCategorical
from pyro_vae.conditionals.family import Conditional, Family, family
from pyro_vae.conditionals.flows import IAF, Flow
from pyro_vae.conditionals.levels import (
    Binomial,
    DirichletMultinomial,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    Multinomial,
    Ordinal,
)
from pyro_vae.conditionals.missing import masked, missing
from pyro_vae.conditionals.mixtures import Aggregate, Mixture, Vamp
from pyro_vae.conditionals.refined import Refined
from pyro_vae.conditionals.simplex import Dirichlet, LogisticNormal, OneHotCategorical
from pyro_vae.conditionals.sphere import PowerSpherical, UniformSphere, VonMisesFisher
from pyro_vae.conditionals.table import (
    Bernoulli,
    Beta,
    Categorical,
    ContinuousBernoulli,
    Gamma,
    Laplace,
    LogitNormal,
    LowRankNormal,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StandardNormal,
    StudentT,
    VonMises,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)

__all__ = [
    "IAF",
    "Aggregate",
    "Autoregressive",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Columns",
    "Conditional",
    "ContinuousBernoulli",
    "Dirichlet",
    "DirichletMultinomial",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
    "Family",
    "Flow",
    "Gamma",
    "Laplace",
    "LogisticNormal",
    "LogitNormal",
    "LowRankNormal",
    "Mixture",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "Ordinal",
    "Poisson",
    "PowerSpherical",
    "Refined",
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "StandardNormal",
    "StudentT",
    "UniformSphere",
    "Vamp",
    "VonMises",
    "VonMisesFisher",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
    "family",
    "masked",
    "missing",
]
