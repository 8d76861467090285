"""The few densities that Pyro lacks, as ordinary Pyro distributions."""

from pyro_vae.distributions import kernels  # noqa: F401
from pyro_vae.distributions.bernoulli import Bernoulli, ContinuousBernoulli
from pyro_vae.distributions.columns import Product
from pyro_vae.distributions.counts import (
    DirichletMultinomial,
    Multinomial,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from pyro_vae.distributions.discrete import (
    Autoregressive,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
)
from pyro_vae.distributions.flow import FlowDistribution
from pyro_vae.distributions.levels import DiscretisedLogistic, DiscretisedLogisticMixture, Ordinal
from pyro_vae.distributions.missing import Missing
from pyro_vae.distributions.mixture import Mixture
from pyro_vae.distributions.simplex import Beta, Dirichlet
from pyro_vae.distributions.sphere import PowerSpherical, UniformSphere, VonMisesFisher
from pyro_vae.distributions.unit import LogitNormal, VonMises

__all__ = [
    "Autoregressive",
    "Bernoulli",
    "Beta",
    "ContinuousBernoulli",
    "Dirichlet",
    "DirichletMultinomial",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
    "FlowDistribution",
    "LogitNormal",
    "Missing",
    "Mixture",
    "Multinomial",
    "Ordinal",
    "PowerSpherical",
    "Product",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "UniformSphere",
    "VonMises",
    "VonMisesFisher",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
]
