"""Whatever fits together runs: priors × likelihoods × variationals × objectives.

Whatever does not fit is refused.

All pairs of a prior and a variational over the same set are run, each under a part of the
objectives, so dealt that every prior and every variational meets every objective, and every
likelihood. A multinomial is no prior: its density is that of counts given their total.
"""

import itertools
from functools import partial
from typing import NamedTuple

import pyro.distributions as dist
import pytest
import torch
import zuko
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import Independent

import pyro_vae as pv
from pyro_vae.weights.traces import unvalidated

D, ROWS = 3, 4
net = partial(pv.networks.mlp, hidden=(4,))
told = pv.masked(net)
COLUMNS = {"a": pv.Normal, "b": pv.Bernoulli, "c": (pv.Categorical, {"classes": 3})}
X = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])

LIKELIHOODS = {
    "normal": (lambda: pv.Normal(3, given=D, net=net), X),
    "bernoulli": (lambda: pv.Bernoulli(3, given=D, net=net), X.clamp(max=1)),
    "missing columns": (
        lambda: pv.missing(pv.Columns(COLUMNS, given=D, net=net)),
        X.where(X != 2, torch.nan),
    ),
}


class Group(NamedTuple):
    """Families over one set: makers of p(z), and of q(z|x) given `given` and `net`.

    `path` says whether draws of q are reparametrised.
    """

    priors: dict
    variationals: dict
    path: bool = True


LogNormal = pv.family(dist.LogNormal, "loc", "scale")
SMALL = {"transforms": 1, "hidden_features": (4,)}
FLOW = {"context": 4, **SMALL}


def group(
    both: dict, priors: dict | None = None, variationals: dict | None = None, path: bool = True
) -> Group:
    return Group(both | (priors or {}), both | (variationals or {}), path)


GROUPS = {
    "real": group(
        {
            "Normal": pv.Normal,
            "MultivariateNormal": pv.MultivariateNormal,
            "LowRankNormal": partial(pv.LowRankNormal, rank=1),
            "Laplace": pv.Laplace,
            "StudentT": pv.StudentT,
            "Mixture Normal": partial(pv.Mixture, pv.Normal, components=2),
            "Mixture LowRankNormal": partial(pv.Mixture, pv.LowRankNormal, components=2, rank=1),
            "Autoregressive": partial(pv.Autoregressive, pv.Normal, context=4, hidden=(4,)),
            "Gumbel": pv.family(dist.Gumbel, "loc", "scale"),
        },
        {
            "StandardNormal": pv.StandardNormal,
            "NSF": partial(pv.Flow, **SMALL),
            "MAF": partial(pv.Flow, flow=zuko.flows.MAF, **SMALL),
        },
        {
            "NSF": partial(pv.Flow, **FLOW),
            "MAF": partial(pv.Flow, flow=zuko.flows.MAF, **FLOW),
            "IAF": partial(pv.Flow, flow=pv.IAF, **FLOW),
        },
    ),
    "real, by the score": group(
        {"Mixture StudentT": partial(pv.Mixture, pv.StudentT, components=2)}, path=False
    ),
    "positive": group({"Gamma": pv.Gamma, "LogNormal": LogNormal}),
    "unit": group(
        {
            "Beta": pv.Beta,
            "LogitNormal": pv.LogitNormal,
            "ContinuousBernoulli": pv.ContinuousBernoulli,
            "RelaxedBernoulli": partial(pv.RelaxedBernoulli, temperature=0.7),
        }
    ),
    "sphere": group(
        {"PowerSpherical": pv.PowerSpherical, "VonMisesFisher": pv.VonMisesFisher},
        {"UniformSphere": pv.UniformSphere},
    ),
    "simplex": group(
        {
            "Dirichlet": pv.Dirichlet,
            "LogisticNormal": pv.LogisticNormal,
            "RelaxedCategorical": partial(pv.RelaxedCategorical, temperature=0.7),
        }
    ),
    "corners": group({"OneHotCategorical": pv.OneHotCategorical}, path=False),
    "bits": group(
        {
            "Bernoulli": pv.Bernoulli,
            "Mixture Bernoulli": partial(pv.Mixture, pv.Bernoulli, components=2),
            "Autoregressive Bernoulli": partial(
                pv.Autoregressive, pv.Bernoulli, context=4, hidden=(4,)
            ),
        },
        path=False,
    ),
    "levels": group(
        {
            "Categorical": partial(pv.Categorical, classes=3),
            "Ordinal": partial(pv.Ordinal, classes=3),
            "Binomial": partial(pv.Binomial, total_count=2),
            "DiscretisedLogistic": partial(pv.DiscretisedLogistic, levels=3),
            "DiscretisedLogisticMixture": partial(
                pv.DiscretisedLogisticMixture, levels=3, components=2
            ),
            "Autoregressive Categorical": partial(
                pv.Autoregressive, pv.Categorical, classes=3, context=4, hidden=(4,)
            ),
        },
        path=False,
    ),
    "counts": group(
        {
            "Poisson": pv.Poisson,
            "NegativeBinomial": pv.NegativeBinomial,
            "GammaPoisson": pv.GammaPoisson,
            "ZeroInflatedPoisson": pv.ZeroInflatedPoisson,
            "ZeroInflatedNegativeBinomial": pv.ZeroInflatedNegativeBinomial,
        },
        path=False,
    ),
    "angle": group({"VonMises": pv.VonMises}),
}
OF_Q = {
    "Vamp": lambda q, x: pv.Vamp(q, x[:2]),
    "Vamp, weighted": lambda q, x: pv.Vamp(q, x[:2], learned_weights=True),
    "Aggregate": lambda q, x: pv.Aggregate(q, x),
}


def each(cls, *arguments, **options):
    return {
        f"{cls.__name__} {gradient}": partial(cls, *arguments, gradient=gradient, **options)
        for gradient in cls.gradients
    }


OBJECTIVES = {
    "Trace_ELBO": Trace_ELBO,
    "TraceMeanField_ELBO": TraceMeanField_ELBO,
    **each(pv.EvidenceLowerBound, 2),
    **each(pv.AnalyticKL, 2),
    **each(pv.ImportanceWeighted, 2),
    **each(pv.Renyi, 0.5, 2),
    **each(pv.MIWAE, 2, 2),
    **each(pv.PIWAE, 2, 2),
    **each(pv.CIWAE, 0.5, 2),
    "VIMCO": partial(pv.VIMCO, 2),
    "ReweightedWakeSleep": partial(pv.ReweightedWakeSleep, 2),
    "FreeBits": partial(pv.FreeBits, 0.01),
    "FreeBits by site": partial(pv.FreeBits, 0.01, per="site"),
    "Capacity": partial(pv.Capacity, 2.0, pv.linear(2)),
    "TotalCorrelation": partial(pv.TotalCorrelation, 2.0, ROWS),
    "TotalCorrelation stratified": partial(pv.TotalCorrelation, 2.0, ROWS, "stratified"),
    "MMD": partial(pv.MMD, 2.0),
    "MMD and KL": partial(pv.MMD, 2.0, alpha=0.5),
}
WITHOUT_PATH = {
    name
    for name in OBJECTIVES
    if name.endswith((" score", "leave_one_out")) or name in ("VIMCO", "ReweightedWakeSleep")
} | {"Trace_ELBO"}
BY_DIMENSION = {"FreeBits", "TotalCorrelation", "TotalCorrelation stratified"}


class Cell(NamedTuple):
    group: str
    prior: str
    variational: str
    likelihood: str
    objective: str

    def __str__(self):
        return ", ".join(self[1:])

    def pair(self):
        makers, (likelihood, x) = GROUPS[self.group], LIKELIHOODS[self.likelihood]
        q = makers.variationals[self.variational](D, given=3, net=told if x.isnan().any() else net)
        p = OF_Q[self.prior](q, x) if self.prior in OF_Q else makers.priors[self.prior](D)
        return pv.VAE(prior=p, likelihood=likelihood(), variational=q), x


def dealt(name):
    """All pairs of a group, each with some of the objectives.

    A whole row has all of them, and so has a whole column.
    """
    path, (rows, columns) = GROUPS[name].path, parts_of(name)
    admitted = [o for o in OBJECTIVES if path or o != "TraceMeanField_ELBO"]
    hands, likelihoods = min(len(rows), len(columns)), list(LIKELIHOODS)
    for (r, prior), (c, variational) in itertools.product(enumerate(rows), enumerate(columns)):
        for turn, objective in enumerate(admitted[(r + c) % hands :: hands]):
            yield Cell(name, prior, variational, likelihoods[(turn + r) % 3], objective)


def parts_of(name):
    return [*GROUPS[name].priors, *OF_Q], list(GROUPS[name].variationals)


CELLS = [cell for name in GROUPS for cell in dealt(name)]


def test_every_part_meets_every_objective_and_likelihood():
    for name in GROUPS:
        cells = [cell for cell in CELLS if cell.group == name]
        met = {pair for cell in cells for pair in itertools.permutations(cell[1:], 2)}
        rows, columns = parts_of(name)
        objectives = OBJECTIVES.keys() - (set() if GROUPS[name].path else {"TraceMeanField_ELBO"})
        assert met >= set(itertools.product(rows, columns))
        assert met >= set(itertools.product([*rows, *columns], [*objectives, *LIKELIHOODS]))
    assert {(cell.objective, cell.likelihood) for cell in CELLS} == set(
        itertools.product(OBJECTIVES, LIKELIHOODS)
    )


def independent(p):
    while isinstance(p, Independent):
        p = p.base_dist
    return not p.event_shape


def refusal(cell, pair, x):
    """What an objective says that does not admit the pair."""
    if not GROUPS[cell.group].path and cell.objective not in WITHOUT_PATH:
        return r"latent 'z' \(\w+\) has no reparametrised draws.*pv\.VIMCO"
    parts = [pair.variational(x)] + ([pair.prior()] if cell.objective == "FreeBits" else [])
    if cell.objective in BY_DIMENSION and not all(map(independent, parts)):
        return "latent 'z': a .* is not independent over its dimensions; take per='site'"
    return None


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_two_steps(cell):
    pair, x = cell.pair()
    objective = pv.Objective(pair, OBJECTIVES[cell.objective]())
    optimizer = torch.optim.Adam(pair.parameters(), lr=1e-2)

    with unvalidated():
        refused = refusal(cell, pair, x)
        if refused is not None:
            with pytest.raises(ValueError, match=refused):
                objective(x)
            return
        for _ in range(2):
            optimizer.zero_grad()
            loss = objective(x)
            loss.backward()
            optimizer.step()
            assert loss.isfinite()
            for name, w in pair.named_parameters():
                assert not w.requires_grad or w.grad.isfinite().all(), name


@pytest.mark.parametrize("other", GROUPS)
@pytest.mark.parametrize("name", GROUPS)
def test_parts_over_different_sets_are_refused(name, other):
    """All priors of one group with all variationals of another."""
    same = {name, other} <= {"real", "real, by the score"} or name == other
    likelihood = pv.Bernoulli(3, given=D, net=net)
    for make_prior, make in itertools.product(
        GROUPS[name].priors.values(), GROUPS[other].variationals.values()
    ):
        p, q = make_prior(D), make(D, given=3, net=net)
        if same:
            pv.VAE(prior=p, likelihood=likelihood, variational=q)
            continue
        with pytest.raises(
            ValueError, match=r"supports of z differ: prior .* is over .*, variational .* over"
        ) as e:
            pv.VAE(prior=p, likelihood=likelihood, variational=q)
        assert repr(p) in str(e.value) and repr(q) in str(e.value)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("of_q", OF_Q)
def test_a_prior_made_of_another_variational_is_refused(of_q, name):
    other = "sphere" if name != "sphere" else "simplex"
    q, make = (next(iter(GROUPS[g].variationals.values())) for g in (name, other))
    prior = OF_Q[of_q](q(D, given=3, net=net), X)
    with pytest.raises(ValueError, match="the supports of z differ"):
        pv.VAE(
            prior=prior, likelihood=pv.Bernoulli(3, given=D), variational=make(D, given=3, net=net)
        )


# Objectives in `fit`


def small(family):
    torch.manual_seed(0)
    return pv.VAE(
        prior=family(D),
        likelihood=pv.Bernoulli(3, given=D, net=net),
        variational=family(D, given=3, net=net),
    )


def weights(pair):
    return {name: w.detach().clone() for name, w in pair.named_parameters()}


RUN = {"batch_size": 2, "learning_rate": 1e-2, "seed": 0, "progress": False}
BITS = (X > 0).float()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_epoch_of_fit(name):
    pair = small(
        pv.Bernoulli
        if name.endswith(("score", "leave_one_out", "VIMCO", "WakeSleep"))
        else pv.Normal
    )
    before = weights(pair)
    history = pv.fit(pair, BITS, epochs=1, objective=pv.Objective(pair, OBJECTIVES[name]()), **RUN)

    assert all(torch.tensor(column).isfinite().all() for column in history if column)
    assert all(not torch.equal(w, before[name]) for name, w in weights(pair).items())


COMPILED = {
    "importance-weighted, doubly reparametrised": (
        pv.Normal,
        partial(pv.ImportanceWeighted, 3, "doubly_reparametrised"),
    ),
    "a rising capacity": (pv.Normal, partial(pv.Capacity, 2.0, pv.linear(10, to=5.0))),
    "VIMCO": (partial(pv.Categorical, classes=3), partial(pv.VIMCO, 3)),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_training_is_the_eager_one(name):
    family, bound = COMPILED[name]
    found = []
    for compile in (False, True):
        pair = small(family)
        objective = pv.Objective(pair, bound())
        history = pv.fit(pair, BITS, epochs=3, objective=objective, compile=compile, **RUN)
        found.append((history.loss, objective.state_dict()))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert name != "a rising capacity" or (int(objective.elbo.steps), objective.elbo.nats > 2) == (
        6,
        True,
    )
    assert all(
        not torch.equal(w, found[1][1][f"pair.{n}"]) for n, w in weights(small(family)).items()
    )
