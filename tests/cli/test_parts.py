import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli import parts
from tests.commands import CONFIG

TABLES = {
    "prior": parts.PRIORS,
    "likelihood": parts.LIKELIHOODS,
    "variational": parts.VARIATIONALS,
    "network": parts.NETWORKS,
}
NAMES = [(role, name) for role in TABLES for name in TABLES[role]]


def partner(name):
    """A variational over the support of a prior, and a prior over that of a variational."""
    if name in parts.CONSTRAINED | parts.RELAXED:
        return {"prior": name, "variational": name}
    return (
        {"prior": "uniform-sphere", "variational": "power-spherical"}
        if name == "uniform-sphere"
        else {}
    )


@pytest.mark.parametrize("role, name", NAMES)
def test_every_name_builds_a_pair_that_scores_data(role, name):
    config = {
        "prior": "standard-normal",
        "likelihood": "bernoulli",
        "variational": "normal",
        "network": "mlp",
    }
    config |= partner(name) if role in ("prior", "variational") else {}
    config |= {"latent": 2, "components": 3, "scale": None, "seed": 0, role: name}
    likelihood = config["likelihood"]
    counts = (
        likelihood in (*parts.LEVELS, "bernoulli")
        or "poisson" in likelihood
        or "nomial" in likelihood
    )
    x = torch.randint(0, 2, (20, 1, 4, 4)) if counts else torch.rand(20, 1, 4, 4) * 0.9 + 0.05
    pair = parts.build_pair(config, pv.data.Dataset(x, x, x, None, ""))
    assert pv.diagnostics.log_weights(pair, x, num_samples=3).isfinite().all()
    assert (
        parts.build_pair(config, pv.data.Dataset(x, x, x, None, "")).state_dict().keys()
        == pair.state_dict().keys()
    )


def test_levels_are_counted_in_all_of_the_data():
    config = {
        "prior": "standard-normal",
        "variational": "normal",
        "network": "mlp",
        "latent": 2,
        "components": 3,
    }
    config |= {"scale": None, "seed": 0}
    few, most = torch.zeros(20, 3), torch.full((5, 3), 6.0)
    for name, (option, count) in {
        "binomial": ("total_count", 6),
        "ordinal": ("classes", 7),
    }.items():
        pair = parts.build_pair(
            config | {"likelihood": name}, pv.data.Dataset(few, few, most, None, "")
        )
        assert pair.likelihood.options()[option] == count


@pytest.mark.parametrize("name", parts.OBJECTIVES)
def test_every_objective_scores_a_pair_that_admits_it(name):
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    loss = pv.Objective(vae, parts.OBJECTIVES[name](3, 100))(torch.randn(5, 3))
    loss.backward()
    assert loss.isfinite() and all(
        p.grad is not None and p.grad.isfinite().all() for p in vae.parameters()
    )


@pytest.fixture
def data():
    x = torch.randn(20, 3)
    return pv.data.Dataset(x, x, x, None, "")


def test_the_seed_gives_the_weights(data):
    one, same, other = (
        parts.build_pair(CONFIG | {"seed": seed}, data).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_vamp_prior_takes_data_again_where_they_are_few(data):
    pair = parts.build_pair(CONFIG | {"prior": "vamp", "components": 50}, data)
    pseudo_inputs = pair.prior.pseudo_inputs
    assert torch.equal(pseudo_inputs[:20], data.train)
    assert torch.equal(pseudo_inputs[20:40], data.train)


def test_the_objective_has_a_weight_only_where_it_is_not_1(data):
    pair = parts.build_pair(CONFIG, data)
    assert isinstance(parts.build_objective(CONFIG, pair, 20), pv.Objective)
    assert isinstance(parts.build_objective(CONFIG | {"beta": 2.0}, pair, 20), pv.KLWeight)


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("latent", 0, "latent: expected a positive whole number, got 0"),
        ("components", 0, "components: expected a positive whole number, got 0"),
        ("likelihood", "norml", "likelihood: unknown name 'norml'; known are bernoulli"),
    ],
)
def test_what_cannot_be_built(data, option, value, said):
    with pytest.raises(ValueError, match=said):
        parts.build_pair(CONFIG | {option: value}, data)


def test_an_objective_speaks_of_draws(data):
    pair = parts.build_pair(CONFIG, data)
    config = CONFIG | {"objective": "vimco", "draws": 1}
    with pytest.raises(ValueError, match=r"^draws: leaving one draw out"):
        parts.build_objective(config, pair, 20)
