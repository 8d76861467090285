"""Variational autoencoders in Pyro that measure the inference they do."""

from torch.distributions import Distribution as _Distribution

# zuko and pyro switch argument validation on import; whoever imports us finds it as it was
_validate = _Distribution._validate_args

from pyro_vae import data, diagnostics, networks  # noqa: E402
from pyro_vae.checkpoints import load_weights, save_weights  # noqa: E402
from pyro_vae.checks import check  # noqa: E402
from pyro_vae.compiled import Compiled, CompiledTrace_ELBO  # noqa: E402
from pyro_vae.conditionals import (  # noqa: E402
    Bernoulli,
    Beta,
    Categorical,
    Conditional,
    ContinuousBernoulli,
    Family,
    Flow,
    Gamma,
    Laplace,
    LowRankNormal,
    Mixture,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StandardNormal,
    StudentT,
    Vamp,
    family,
)
from pyro_vae.objectives import KLWeight, Objective, linear  # noqa: E402
from pyro_vae.optim import FusedOptim  # noqa: E402
from pyro_vae.pairs import VAE, Pair  # noqa: E402
from pyro_vae.traces import reconstruct, simulate  # noqa: E402
from pyro_vae.training import History, fit  # noqa: E402

_Distribution.set_default_validate_args(_validate)
__version__ = "0.1.0"

__all__ = [
    "VAE",
    "Bernoulli",
    "Beta",
    "Categorical",
    "Compiled",
    "CompiledTrace_ELBO",
    "Conditional",
    "ContinuousBernoulli",
    "Family",
    "Flow",
    "FusedOptim",
    "Gamma",
    "History",
    "KLWeight",
    "Laplace",
    "LowRankNormal",
    "Mixture",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "Objective",
    "Pair",
    "Poisson",
    "StandardNormal",
    "StudentT",
    "Vamp",
    "check",
    "data",
    "diagnostics",
    "family",
    "fit",
    "linear",
    "load_weights",
    "networks",
    "reconstruct",
    "save_weights",
    "simulate",
]
