"""The table of objectives by name, and the objective that a configuration names."""

from collections.abc import Callable
from typing import Any

from pyro.infer import Trace_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.arguments import check_whole
from pyro_vae.cli.parts import Config, find
from pyro_vae.cli.stories import choose_story
from pyro_vae.objectives.objective import Loss

# k is --draws, n is the number of training data
OBJECTIVES: dict[str, Callable[[int, int], Any]] = {
    "elbo": lambda k, n: Trace_ELBO(),
    "analytic-kl": lambda k, n: pv.AnalyticKL(),
    "sticking-the-landing": lambda k, n: pv.EvidenceLowerBound(gradient="sticking_the_landing"),
    "leave-one-out": lambda k, n: pv.EvidenceLowerBound(k, gradient="leave_one_out"),
    "importance-weighted": lambda k, n: pv.ImportanceWeighted(k),
    "doubly-reparametrised": lambda k, n: pv.ImportanceWeighted(
        k, gradient="doubly_reparametrised"
    ),
    "renyi": lambda k, n: pv.Renyi(0.5, k),
    "miwae": lambda k, n: pv.MIWAE(k, k),
    "piwae": lambda k, n: pv.PIWAE(k, k),
    "ciwae": lambda k, n: pv.CIWAE(0.5, k),
    "vimco": lambda k, n: pv.VIMCO(k),
    "reweighted-wake-sleep": lambda k, n: pv.ReweightedWakeSleep(k),
    "free-bits": lambda k, n: pv.FreeBits(0.25),
    "capacity": lambda k, n: pv.Capacity(10.0, pv.linear(5000, to=10.0)),
    "total-correlation": lambda k, n: pv.TotalCorrelation(6.0, n),
    "mmd": lambda k, n: pv.MMD(100.0),
}


def build_objective(config: Config, pair: nn.Module, rows: int) -> Loss:
    """The objective that a configuration names, of a pair and so many training data."""
    draws = check_whole("draws", config["draws"])
    make = find(OBJECTIVES, "objective", config["objective"])
    try:
        bound = make(draws, rows)
    except ValueError as error:
        # every bound calls its draws num_samples, which is another option of the command line
        raise ValueError(str(error).replace("num_samples", "draws")) from error

    objective = choose_story(config).weigh(config, pv.Objective(pair, bound))
    if config["beta"] == 1:
        return objective
    return pv.KLWeight(objective, config["beta"])
