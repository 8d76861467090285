"""Variational autoencoders in Pyro that measure the inference they do."""

from torch.distributions import Distribution as _Distribution

# zuko and pyro switch argument validation on import; whoever imports us finds it as it was
_validate = _Distribution._validate_args

# ruff: noqa: E402
from pyro_vae import data as data
from pyro_vae import diagnostics as diagnostics
from pyro_vae import networks as networks
from pyro_vae.checks import check as check
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
from pyro_vae.conditionals.responsibilities import Responsibilities as Responsibilities
from pyro_vae.conditionals.simplex import Dirichlet as Dirichlet
from pyro_vae.conditionals.simplex import LogisticNormal as LogisticNormal
from pyro_vae.conditionals.simplex import approximate_dirichlet as approximate_dirichlet
from pyro_vae.conditionals.sphere import PowerSpherical as PowerSpherical
from pyro_vae.conditionals.sphere import UniformSphere as UniformSphere
from pyro_vae.conditionals.sphere import VonMisesFisher as VonMisesFisher
from pyro_vae.conditionals.unit import Beta as Beta
from pyro_vae.conditionals.unit import ContinuousBernoulli as ContinuousBernoulli
from pyro_vae.conditionals.unit import LogitNormal as LogitNormal
from pyro_vae.diagnostics.inference_data import to_arviz as to_arviz
from pyro_vae.networks.masked import masked as masked
from pyro_vae.networks.standardised import standardised as standardised
from pyro_vae.objectives.bound import Bound as Bound
from pyro_vae.objectives.compiled import Compiled as Compiled
from pyro_vae.objectives.compiled import CompiledTrace_ELBO as CompiledTrace_ELBO
from pyro_vae.objectives.grouped import CIWAE as CIWAE
from pyro_vae.objectives.grouped import MIWAE as MIWAE
from pyro_vae.objectives.grouped import PIWAE as PIWAE
from pyro_vae.objectives.grouped import ReweightedWakeSleep as ReweightedWakeSleep
from pyro_vae.objectives.kl_weight import KLWeight as KLWeight
from pyro_vae.objectives.labelled import Classification as Classification
from pyro_vae.objectives.likelihood_weights import LikelihoodWeights as LikelihoodWeights
from pyro_vae.objectives.objective import Objective as Objective
from pyro_vae.objectives.schedules import cyclical as cyclical
from pyro_vae.objectives.schedules import linear as linear
from pyro_vae.objectives.shaped import MMD as MMD
from pyro_vae.objectives.shaped import Capacity as Capacity
from pyro_vae.objectives.shaped import FreeBits as FreeBits
from pyro_vae.objectives.shaped import TotalCorrelation as TotalCorrelation
from pyro_vae.objectives.subsets import Subsets as Subsets
from pyro_vae.objectives.weighted import VIMCO as VIMCO
from pyro_vae.objectives.weighted import AnalyticKL as AnalyticKL
from pyro_vae.objectives.weighted import EvidenceLowerBound as EvidenceLowerBound
from pyro_vae.objectives.weighted import ImportanceWeighted as ImportanceWeighted
from pyro_vae.objectives.weighted import Renyi as Renyi
from pyro_vae.pairs.hierarchical import HierarchicalVAE as HierarchicalVAE
from pyro_vae.pairs.labelled import LabelledVAE as LabelledVAE
from pyro_vae.pairs.multimodal import MultimodalVAE as MultimodalVAE
from pyro_vae.pairs.pair import Pair as Pair
from pyro_vae.pairs.sequence import SequenceVAE as SequenceVAE
from pyro_vae.pairs.vae import VAE as VAE
from pyro_vae.recipes import recorded as recorded
from pyro_vae.sharing.folder import load as load
from pyro_vae.sharing.folder import save as save
from pyro_vae.training.checkpoints import load_weights as load_weights
from pyro_vae.training.checkpoints import save_weights as save_weights
from pyro_vae.training.clusters import start_clusters as start_clusters
from pyro_vae.training.fit import fit as fit
from pyro_vae.training.history import History as History
from pyro_vae.training.optim import FusedOptim as FusedOptim
from pyro_vae.weights.draws import reconstruct as reconstruct
from pyro_vae.weights.draws import simulate as simulate

_Distribution.set_default_validate_args(_validate)
__version__ = "0.2.0"
