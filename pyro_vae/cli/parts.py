"""The tables of parts by name, and the parts that a configuration names."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import zuko
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.arguments import check_whole
from pyro_vae.networks import Shape

Make = Callable[..., Any]
Config = dict[str, Any]
Given = int | Shape | list[int | Shape]


class Known(NamedTuple):
    """What a prior can be built from."""

    latent: int
    components: int
    variational: nn.Module | None
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
    if known.variational is None:
        raise ValueError(
            "prior: a vamp prior is made of q(z|x), and q is given something else here; take "
            "another, mixture for example"
        )
    rows = torch.arange(known.components) % len(known.x)
    return pv.Vamp(known.variational, known.x[rows])


REAL: dict[str, Make] = {
    "normal": pv.Normal,
    "low-rank-normal": partial(pv.LowRankNormal, rank=2),
    "full-normal": pv.MultivariateNormal,
    "laplace": pv.Laplace,
    "logistic": pv.Logistic,
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
    "approximate-dirichlet": _of_size(pv.approximate_dirichlet),
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
NETWORKS: dict[str, Make] = {
    "mlp": pv.networks.mlp,
    "conv": pv.networks.conv,
    "topics": pv.networks.topics,
}


def list_names(table: Mapping[str, Any]) -> str:
    """The names of a table, as help and errors show them."""
    return ", ".join(table)


def find(table: Mapping[str, Any], role: str, name: str) -> Any:
    """What stands in a table under a name."""
    if name not in table:
        raise ValueError(f"{role}: unknown name {name!r}; known are {list_names(table)}")
    return table[name]


class Parts:
    """Makes the parts that a configuration names, for what they are given.

    Arguments:
        config: The configuration.
        splits: All of x. Its largest value is the highest level of a likelihood.
        event: The shape that the likelihood is over, by default that of x.
    """

    def __init__(self, config: Config, splits: Collection[Tensor], event: Shape | None = None):
        first = next(iter(splits))
        self.event = tuple(first.shape[1:]) if event is None else event
        self.x = first
        self.components = check_whole("components", config["components"])
        self.net = find(NETWORKS, "network", config["network"])
        self._prior = config["prior"]
        self._make_likelihood = find(LIKELIHOODS, "likelihood", config["likelihood"])
        self._make_variational = find(VARIATIONALS, "variational", config["variational"])
        self._options = _likelihood_options(config, splits)

    def make_likelihood(self, given: Given) -> nn.Module:
        """p(x | z, ...)."""
        return self._make_likelihood(self.event, given=given, net=self.net, **self._options)

    def make_variational(self, size: int, given: Given) -> nn.Module:
        """q(z | x, ...) over so many numbers."""
        return self._make_variational(size, given=given, net=self.net)

    def make_inner(self, size: int, given: Given) -> nn.Module:
        """A distribution of the family of q, from vectors to a vector of so many numbers."""
        return self._make_variational(size, given=given)

    def make_prior(self, size: int, variational: nn.Module | None = None) -> nn.Module:
        """p(z) over so many numbers. A vamp prior is made of q(z | x)."""
        make = find(PRIORS, "prior", self._prior)
        return make(Known(size, self.components, variational, self.x))


def _likelihood_options(config: Config, splits: Collection[Tensor]) -> dict[str, Any]:
    options = {}
    if config["scale"] is not None:
        options["scale"] = config["scale"]
    if config["likelihood"] in LEVELS:
        option, more = LEVELS[config["likelihood"]]
        largest = max(int(x.max()) for x in splits)
        options[option] = max(1, largest) + more
    return options
