import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli import parts
from tests.commands import CONFIG, arrange, build

TABLES = {
    "prior": parts.PRIORS,
    "likelihood": parts.LIKELIHOODS,
    "variational": parts.VARIATIONALS,
    "network": parts.NETWORKS,
}
# a network of topics is of bags of words, and has a story of its own
NAMES = [(role, name) for role in TABLES for name in TABLES[role] if name != "topics"]


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
    config = CONFIG | {"likelihood": "bernoulli"}
    config |= partner(name) if role in ("prior", "variational") else {}
    config |= {role: name}
    likelihood = config["likelihood"]
    counts = (
        likelihood in (*parts.LEVELS, "bernoulli")
        or "poisson" in likelihood
        or "nomial" in likelihood
    )
    x = torch.randint(0, 2, (20, 1, 4, 4)) if counts else torch.rand(20, 1, 4, 4) * 0.9 + 0.05
    pair = build(config, arrange(config, x))
    assert pv.diagnostics.log_weights(pair, x, num_samples=3).isfinite().all()


def test_levels_are_counted_in_all_of_the_data():
    few, most = torch.zeros(20, 3), torch.full((5, 3), 6.0)
    for name, (option, count) in {
        "binomial": ("total_count", 6),
        "ordinal": ("classes", 7),
    }.items():
        config = CONFIG | {"likelihood": name}
        pair = build(config, arrange(config, few, test=most))
        assert pair.likelihood.options()[option] == count


@pytest.fixture
def data():
    return arrange(CONFIG, torch.randn(20, 3))


def test_the_seed_gives_the_weights(data):
    one, same, other = (build(CONFIG | {"seed": seed}, data).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_vamp_prior_takes_data_again_where_they_are_few(data):
    pair = build(CONFIG | {"prior": "vamp", "components": 50}, data)
    pseudo_inputs = pair.prior.pseudo_inputs
    assert torch.equal(pseudo_inputs[:20], data.dataset.train)
    assert torch.equal(pseudo_inputs[20:40], data.dataset.train)


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("latent", 0, "latent: expected a positive whole number, got 0"),
        ("components", 0, "components: expected a positive whole number, got 0"),
        ("likelihood", "norml", "likelihood: unknown name 'norml'; known are bernoulli"),
        ("prior", "norml", "prior: unknown name 'norml'; known are standard-normal"),
    ],
)
def test_what_cannot_be_built(data, option, value, said):
    with pytest.raises(ValueError, match=said):
        build(CONFIG | {option: value}, data)
