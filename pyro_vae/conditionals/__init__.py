"""Conditional distributions p(a | b): modules whose call returns a Pyro distribution.

Prior, likelihood and variational are three uses of the same thing, so every family serves in all
three roles.
"""

from pyro_vae.conditionals.aggregate import Aggregate as Aggregate
from pyro_vae.conditionals.aggregate import Vamp as Vamp
from pyro_vae.conditionals.angles import VonMises as VonMises
from pyro_vae.conditionals.autoregressive import Autoregressive as Autoregressive
from pyro_vae.conditionals.binary import Bernoulli as Bernoulli
from pyro_vae.conditionals.binary import RelaxedBernoulli as RelaxedBernoulli
from pyro_vae.conditionals.categories import Categorical as Categorical
from pyro_vae.conditionals.categories import OneHotCategorical as OneHotCategorical
from pyro_vae.conditionals.categories import RelaxedCategorical as RelaxedCategorical
from pyro_vae.conditionals.columns import Columns as Columns
from pyro_vae.conditionals.conditional import Conditional as Conditional
from pyro_vae.conditionals.counts import Binomial as Binomial
from pyro_vae.conditionals.counts import DirichletMultinomial as DirichletMultinomial
from pyro_vae.conditionals.counts import GammaPoisson as GammaPoisson
from pyro_vae.conditionals.counts import Multinomial as Multinomial
from pyro_vae.conditionals.counts import NegativeBinomial as NegativeBinomial
from pyro_vae.conditionals.counts import Poisson as Poisson
from pyro_vae.conditionals.counts import ZeroInflatedGammaPoisson as ZeroInflatedGammaPoisson
from pyro_vae.conditionals.counts import (
    ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial,
)
from pyro_vae.conditionals.counts import ZeroInflatedPoisson as ZeroInflatedPoisson
from pyro_vae.conditionals.exposed import exposed as exposed
from pyro_vae.conditionals.family import Family as Family
from pyro_vae.conditionals.family import family as family
from pyro_vae.conditionals.flow import IAF as IAF
from pyro_vae.conditionals.flow import Flow as Flow
from pyro_vae.conditionals.layout import Layout as Layout
from pyro_vae.conditionals.levels import DiscretisedLogistic as DiscretisedLogistic
from pyro_vae.conditionals.levels import DiscretisedLogisticMixture as DiscretisedLogisticMixture
from pyro_vae.conditionals.levels import Ordinal as Ordinal
from pyro_vae.conditionals.missing import missing as missing
from pyro_vae.conditionals.mixture import Mixture as Mixture
from pyro_vae.conditionals.positive import Gamma as Gamma
from pyro_vae.conditionals.real import Laplace as Laplace
from pyro_vae.conditionals.real import Logistic as Logistic
from pyro_vae.conditionals.real import LowRankNormal as LowRankNormal
from pyro_vae.conditionals.real import MultivariateNormal as MultivariateNormal
from pyro_vae.conditionals.real import Normal as Normal
from pyro_vae.conditionals.real import StandardNormal as StandardNormal
from pyro_vae.conditionals.real import StudentT as StudentT
from pyro_vae.conditionals.refined import Refined as Refined
from pyro_vae.conditionals.simplex import Dirichlet as Dirichlet
from pyro_vae.conditionals.simplex import LogisticNormal as LogisticNormal
from pyro_vae.conditionals.simplex import approximate_dirichlet as approximate_dirichlet
from pyro_vae.conditionals.sphere import PowerSpherical as PowerSpherical
from pyro_vae.conditionals.sphere import UniformSphere as UniformSphere
from pyro_vae.conditionals.sphere import VonMisesFisher as VonMisesFisher
from pyro_vae.conditionals.unit import Beta as Beta
from pyro_vae.conditionals.unit import ContinuousBernoulli as ContinuousBernoulli
from pyro_vae.conditionals.unit import LogitNormal as LogitNormal
