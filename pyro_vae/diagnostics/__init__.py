"""The measured picture: functions (pair, x) to small named tuples, per datum, with Monte Carlo standard errors."""

from pyro_vae.diagnostics.annealing import Annealed, annealed_log_evidence
from pyro_vae.diagnostics.bracket import Bracket, bracket
from pyro_vae.diagnostics.calibration import Calibration, calibrate
from pyro_vae.diagnostics.elbo import Elbo, elbo
from pyro_vae.diagnostics.evidence import Evidence, log_evidence
from pyro_vae.diagnostics.gaps import Gap, InferenceGaps, inference_gaps, posterior_gap
from pyro_vae.diagnostics.grid import GridPosterior, grid_posterior
from pyro_vae.diagnostics.imputation import Imputation, impute
from pyro_vae.diagnostics.latents import JointKL, Latents, joint_kl, latents
from pyro_vae.diagnostics.log_weights import log_weights
from pyro_vae.diagnostics.picture import Picture, picture

__all__ = [
    "Annealed",
    "Bracket",
    "Calibration",
    "Elbo",
    "Evidence",
    "Gap",
    "GridPosterior",
    "Imputation",
    "InferenceGaps",
    "JointKL",
    "Latents",
    "Picture",
    "annealed_log_evidence",
    "bracket",
    "calibrate",
    "elbo",
    "grid_posterior",
    "impute",
    "inference_gaps",
    "joint_kl",
    "latents",
    "log_evidence",
    "log_weights",
    "picture",
    "posterior_gap",
]
