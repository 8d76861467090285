"""Conditional distributions p(a | b): modules whose call returns a Pyro distribution.

Prior, likelihood and variational are three uses of the same thing, so every family serves in all
three roles.
"""

from pyro_vae.conditionals.columns import Columns as Columns
from pyro_vae.conditionals.discrete import Autoregressive as Autoregressive
from pyro_vae.conditionals.discrete import RelaxedBernoulli as RelaxedBernoulli
from pyro_vae.conditionals.discrete import RelaxedCategorical as RelaxedCategorical
from pyro_vae.conditionals.family import Conditional as Conditional
from pyro_vae.conditionals.family import Family as Family
from pyro_vae.conditionals.family import family as family
from pyro_vae.conditionals.flows import IAF as IAF
from pyro_vae.conditionals.flows import Flow as Flow
from pyro_vae.conditionals.levels import Binomial as Binomial
from pyro_vae.conditionals.levels import DirichletMultinomial as DirichletMultinomial
from pyro_vae.conditionals.levels import DiscretisedLogistic as DiscretisedLogistic
from pyro_vae.conditionals.levels import DiscretisedLogisticMixture as DiscretisedLogisticMixture
from pyro_vae.conditionals.levels import Multinomial as Multinomial
from pyro_vae.conditionals.levels import Ordinal as Ordinal
from pyro_vae.conditionals.missing import missing as missing
from pyro_vae.conditionals.mixtures import Aggregate as Aggregate
from pyro_vae.conditionals.mixtures import Mixture as Mixture
from pyro_vae.conditionals.mixtures import Vamp as Vamp
from pyro_vae.conditionals.refined import Refined as Refined
from pyro_vae.conditionals.simplex import Dirichlet as Dirichlet
from pyro_vae.conditionals.simplex import LogisticNormal as LogisticNormal
from pyro_vae.conditionals.simplex import OneHotCategorical as OneHotCategorical
from pyro_vae.conditionals.sphere import PowerSpherical as PowerSpherical
from pyro_vae.conditionals.sphere import UniformSphere as UniformSphere
from pyro_vae.conditionals.sphere import VonMisesFisher as VonMisesFisher
from pyro_vae.conditionals.table import Bernoulli as Bernoulli
from pyro_vae.conditionals.table import Beta as Beta
from pyro_vae.conditionals.table import Categorical as Categorical
from pyro_vae.conditionals.table import ContinuousBernoulli as ContinuousBernoulli
from pyro_vae.conditionals.table import Gamma as Gamma
from pyro_vae.conditionals.table import Laplace as Laplace
from pyro_vae.conditionals.table import LogitNormal as LogitNormal
from pyro_vae.conditionals.table import LowRankNormal as LowRankNormal
from pyro_vae.conditionals.table import MultivariateNormal as MultivariateNormal
from pyro_vae.conditionals.table import NegativeBinomial as NegativeBinomial
from pyro_vae.conditionals.table import Normal as Normal
from pyro_vae.conditionals.table import Poisson as Poisson
from pyro_vae.conditionals.table import StandardNormal as StandardNormal
from pyro_vae.conditionals.table import StudentT as StudentT
from pyro_vae.conditionals.table import VonMises as VonMises
from pyro_vae.conditionals.table import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial
from pyro_vae.conditionals.table import ZeroInflatedPoisson as ZeroInflatedPoisson
