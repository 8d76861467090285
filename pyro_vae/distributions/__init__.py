"""The densities that Pyro lacks, as ordinary Pyro distributions."""

from pyro_vae.distributions import kernels as kernels
from pyro_vae.distributions.angles import VonMises as VonMises
from pyro_vae.distributions.autoregressive import Autoregressive as Autoregressive
from pyro_vae.distributions.binary import Bernoulli as Bernoulli
from pyro_vae.distributions.binary import RelaxedBernoulli as RelaxedBernoulli
from pyro_vae.distributions.categories import RelaxedOneHotCategorical as RelaxedOneHotCategorical
from pyro_vae.distributions.columns import Product as Product
from pyro_vae.distributions.counts import DirichletMultinomial as DirichletMultinomial
from pyro_vae.distributions.counts import GammaPoisson as GammaPoisson
from pyro_vae.distributions.counts import Multinomial as Multinomial
from pyro_vae.distributions.counts import ZeroInflatedGammaPoisson as ZeroInflatedGammaPoisson
from pyro_vae.distributions.counts import (
    ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial,
)
from pyro_vae.distributions.counts import ZeroInflatedPoisson as ZeroInflatedPoisson
from pyro_vae.distributions.flow import FlowDistribution as FlowDistribution
from pyro_vae.distributions.levels import DiscretisedLogistic as DiscretisedLogistic
from pyro_vae.distributions.levels import DiscretisedLogisticMixture as DiscretisedLogisticMixture
from pyro_vae.distributions.levels import Ordinal as Ordinal
from pyro_vae.distributions.missing import Missing as Missing
from pyro_vae.distributions.mixture import Mixture as Mixture
from pyro_vae.distributions.simplex import Dirichlet as Dirichlet
from pyro_vae.distributions.sphere import PowerSpherical as PowerSpherical
from pyro_vae.distributions.sphere import UniformSphere as UniformSphere
from pyro_vae.distributions.sphere import VonMisesFisher as VonMisesFisher
from pyro_vae.distributions.unit import Beta as Beta
from pyro_vae.distributions.unit import ContinuousBernoulli as ContinuousBernoulli
from pyro_vae.distributions.unit import LogitNormal as LogitNormal
