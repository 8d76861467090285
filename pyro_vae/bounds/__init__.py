"""Bounds on log p(x), their gradients, and objectives that shape the KL term; each a Pyro `ELBO` that takes any pair.

Stock `SVI(model, guide, optim, loss=...)` and `Objective(pair, elbo)` take them alike. Importance weights are of one
datum each; the scale of what the model observes, N/B of a subsampled plate for one, multiplies a datum's bound and
never enters its weights. A latent that is scaled beyond that (`KLWeight`) is tempered within them.
"""

from pyro_vae.bounds.bound import Bound, Run
from pyro_vae.bounds.shaped import MMD, Capacity, FreeBits, TotalCorrelation, cyclical, gaussian_kernel
from pyro_vae.bounds.weighted import (
    CIWAE,
    MIWAE,
    PIWAE,
    VIMCO,
    AnalyticKL,
    EvidenceLowerBound,
    ImportanceWeighted,
    Renyi,
    ReweightedWakeSleep,
    WeightBound,
)

__all__ = [
    "CIWAE",
    "MIWAE",
    "MMD",
    "PIWAE",
    "VIMCO",
    "AnalyticKL",
    "Bound",
    "Capacity",
    "EvidenceLowerBound",
    "FreeBits",
    "ImportanceWeighted",
    "Renyi",
    "ReweightedWakeSleep",
    "Run",
    "TotalCorrelation",
    "WeightBound",
    "cyclical",
    "gaussian_kernel",
]
