"""Names become objects here and nowhere else: the tables of parts, and what is built from them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import zuko
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.arguments import check_whole
from pyro_vae.data import Dataset

Make = Callable[..., Any]
Config = dict[str, Any]


class Known(NamedTuple):
    """What a prior can be built from."""

    latent: int
    components: int
    variational: nn.Module
    x: Tensor


def _of_size(make: Make) -> Callable[[Known], nn.Module]:
    """A prior that needs the size of z alone."""
    return lambda known: make(known.latent)


def _relaxed(make: Make) -> Callable[[Known], nn.Module]:
    return lambda known: make(known.latent, logits=0.0)


def _mixture(known: Known) -> nn.Module:
    return pv.Mixture(pv.Normal, known.latent, components=known.components)


def _vamp(known: Known) -> nn.Module:
    """The pseudo-inputs start at the first data, and begin again where those are too few."""
    rows = torch.arange(known.components) % len(known.x)
    return pv.Vamp(known.variational, known.x[rows])


REAL: dict[str, Make] = {
    "normal": pv.Normal,
    "low-rank-normal": partial(pv.LowRankNormal, rank=2),
    "full-normal": pv.MultivariateNormal,
    "laplace": pv.Laplace,
    "student-t": pv.StudentT,
    "nsf": partial(pv.Flow, flow=zuko.flows.NSF),
    "maf": partial(pv.Flow, flow=zuko.flows.MAF),
    "iaf": partial(pv.Flow, flow=pv.IAF),
    "coupling": partial(pv.Flow, flow=zuko.flows.NSF, passes=2),
}
CONSTRAINED: dict[str, Make] = {
    "gamma": pv.Gamma,
    "beta": pv.Beta,
    "logit-normal": pv.LogitNormal,
    "dirichlet": pv.Dirichlet,
    "logistic-normal": pv.LogisticNormal,
    "power-spherical": pv.PowerSpherical,
    "von-mises-fisher": pv.VonMisesFisher,
    "bernoulli": pv.Bernoulli,
    "one-hot-categorical": pv.OneHotCategorical,
    "autoregressive-bernoulli": partial(pv.Autoregressive, pv.Bernoulli),
}
RELAXED: dict[str, Make] = {
    "relaxed-bernoulli": partial(pv.RelaxedBernoulli, temperature=0.5),
    "relaxed-categorical": partial(pv.RelaxedCategorical, temperature=0.5),
}
PRIORS: dict[str, Callable[[Known], nn.Module]] = {
    "standard-normal": _of_size(pv.StandardNormal),
    "mixture": _mixture,
    "vamp": _vamp,
    "flow": _of_size(pv.Flow),
    "uniform-sphere": _of_size(pv.UniformSphere),
    **{name: _of_size(make) for name, make in REAL.items()},
    **{name: _of_size(make) for name, make in CONSTRAINED.items()},
    **{name: _relaxed(make) for name, make in RELAXED.items()},
}
LIKELIHOODS: dict[str, Make] = {
    "bernoulli": pv.Bernoulli,
    "continuous-bernoulli": pv.ContinuousBernoulli,
    "normal": pv.Normal,
    "laplace": pv.Laplace,
    "student-t": pv.StudentT,
    "logit-normal": pv.LogitNormal,
    "beta": pv.Beta,
    "gamma": pv.Gamma,
    "von-mises": pv.VonMises,
    "poisson": pv.Poisson,
    "negative-binomial": pv.NegativeBinomial,
    "zero-inflated-poisson": pv.ZeroInflatedPoisson,
    "zero-inflated-negative-binomial": pv.ZeroInflatedNegativeBinomial,
    "multinomial": pv.Multinomial,
    "dirichlet-multinomial": pv.DirichletMultinomial,
    "binomial": pv.Binomial,
    "categorical": pv.Categorical,
    "ordinal": pv.Ordinal,
    "discretised-logistic": pv.DiscretisedLogistic,
    "discretised-logistic-mixture": partial(pv.DiscretisedLogisticMixture, components=5),
}
# the option that says how many values there are, and how many those are beyond the largest value
LEVELS = {
    "binomial": ("total_count", 0),
    "categorical": ("classes", 1),
    "ordinal": ("classes", 1),
    "discretised-logistic": ("levels", 1),
    "discretised-logistic-mixture": ("levels", 1),
}
VARIATIONALS: dict[str, Make] = {
    **REAL,
    "mixture": partial(pv.Mixture, pv.Normal, components=5),
    **CONSTRAINED,
    **RELAXED,
}
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
NETWORKS: dict[str, Make] = {"mlp": pv.networks.mlp, "conv": pv.networks.conv}


def list_names(table: Mapping[str, Any]) -> str:
    """The names of a table, as help and errors show them."""
    return ", ".join(table)


def find(table: Mapping[str, Any], role: str, name: str) -> Any:
    """What stands in a table under a name."""
    if name not in table:
        raise ValueError(f"{role}: unknown name {name!r}; known are {list_names(table)}")
    return table[name]


def build_pair(config: Config, data: Dataset) -> pv.VAE:
    """The pair that a configuration names, with the parameters that its seed gives."""
    latent = check_whole("latent", config["latent"])
    components = check_whole("components", config["components"])
    event = tuple(data.train.shape[1:])
    net = find(NETWORKS, "network", config["network"])
    make_likelihood = find(LIKELIHOODS, "likelihood", config["likelihood"])
    make_variational = find(VARIATIONALS, "variational", config["variational"])
    make_prior = find(PRIORS, "prior", config["prior"])
    options = _likelihood_options(config, data)

    torch.manual_seed(config["seed"])
    likelihood = make_likelihood(event, given=latent, net=net, **options)
    variational = make_variational(latent, given=event, net=net)
    prior = make_prior(Known(latent, components, variational, data.train))

    return pv.VAE(prior=prior, likelihood=likelihood, variational=variational)


def _likelihood_options(config: Config, data: Dataset) -> dict[str, Any]:
    options = {}
    if config["scale"] is not None:
        options["scale"] = config["scale"]
    if config["likelihood"] in LEVELS:
        option, more = LEVELS[config["likelihood"]]
        largest = max(int(x.max()) for x in data.splits.values())
        options[option] = max(1, largest) + more
    return options


def build_objective(config: Config, pair: nn.Module, rows: int) -> nn.Module:
    """The objective that a configuration names, of a pair and so many training data."""
    draws = check_whole("draws", config["draws"])
    make = find(OBJECTIVES, "objective", config["objective"])
    try:
        bound = make(draws, rows)
    except ValueError as error:
        # every bound calls its draws num_samples, which is another option of the command line
        raise ValueError(str(error).replace("num_samples", "draws")) from error

    objective = pv.Objective(pair, bound)
    if config["beta"] == 1:
        return objective
    return pv.KLWeight(objective, config["beta"])
