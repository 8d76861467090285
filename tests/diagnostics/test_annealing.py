import dataclasses
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import grid_posterior
from pyro_vae.diagnostics.annealing import annealed_log_evidence, space_temperatures
from pyro_vae.weights import blocks
from tests.diagnostics.test_hmc import chain_pair
from tests.oracles import linear_gaussian, within


def normal_path(world, x, shift, stretch, betas):
    """log of the integral of q^(1 - beta) p(x, z)^beta for normal q and p(z | x), `[betas, n]`."""
    posterior, covariance = (x - world.b) @ world.to_mean.T, world.covariance
    parts = [(posterior + shift, stretch**2 * covariance), (posterior, covariance)]
    rows = []
    for beta in betas.tolist():
        a, h, c = 0.0, 0.0, beta * world.log_evidence(x)
        for share, (mean, cov) in zip((1 - beta, beta), parts, strict=True):
            precision = torch.linalg.inv(cov)
            a = a + share * precision
            h = h + share * mean @ precision
            quadratic = (mean @ precision * mean).sum(-1)
            c = c - share * 0.5 * (quadratic + torch.logdet(2 * math.pi * cov))
        rows.append(
            c + 0.5 * (h @ torch.linalg.inv(a) * h).sum(-1) - 0.5 * torch.logdet(a / (2 * math.pi))
        )
    return torch.stack(rows)


def test_with_the_posterior_as_variational_it_has_no_variance():
    world = linear_gaussian()
    x = world.sample(10)
    found = annealed_log_evidence(world.pair(), x, num_steps=5, num_chains=3)
    assert (found.log_weights - world.log_evidence(x)).abs().max() < 1e-9
    assert found.stderr.max() < 1e-6


def test_from_a_wrong_variational_every_temperature_agrees_with_the_closed_form():
    world = linear_gaussian()
    x = world.sample(10)
    found = annealed_log_evidence(
        world.pair(0.3, 1.4), x, num_steps=10, num_chains=300, num_leapfrog=5
    )
    truth = normal_path(world, x, 0.3, 1.4, found.betas)
    assert truth[0].abs().max() < 1e-9 and torch.allclose(truth[-1], world.log_evidence(x))
    assert within(found.path.value, truth, found.path.stderr)
    assert torch.equal(found.path.value[-1], found.value)
    assert (found.acceptance > 0.4).all() and not found.warnings()


def test_its_weighted_draws_are_of_the_posterior():
    world = linear_gaussian()
    x = world.sample(8)
    found = annealed_log_evidence(
        world.pair(0.5, 1.3), x, num_steps=20, num_chains=400, num_leapfrog=5
    )
    w = found.log_weights.softmax(0).unsqueeze(-1)
    mean = (w * found.z["z"]).sum(0)
    stderr = (world.covariance.diagonal() / found.ess.unsqueeze(-1)).sqrt()
    assert within(mean, (x - world.b) @ world.to_mean.T, stderr)


def test_on_digits_it_agrees_with_a_grid(trained):
    vae, x = trained
    grid = grid_posterior(vae, x[:60], size=150)
    found = annealed_log_evidence(vae, x[:60], num_steps=50, num_chains=10, num_leapfrog=5)
    difference = found.value - grid.log_evidence
    assert difference.mean().abs() < 0.05 and difference.abs().max() < 0.5


def test_chunks_of_data(monkeypatch):
    world = linear_gaussian()
    x = world.sample(7)
    monkeypatch.setattr(blocks, "KEPT", 50)
    found = annealed_log_evidence(world.pair(), x, num_steps=3, num_chains=3)
    assert (
        found.value.shape == (7,)
        and found.z["z"].shape == (3, 7, 3)
        and found.path.value.shape == (4, 7)
    )
    assert (found.value - world.log_evidence(x)).abs().max() < 1e-9


def test_compiled_it_is_the_same(monkeypatch):
    """With blocks of two sizes, a bijection, and a latent that depends on another."""
    monkeypatch.setattr(blocks, "KEPT", 10)
    x = torch.tensor([-1.0, 0.5, 2.0]).double()
    found = []
    for compile in (False, True):
        torch.manual_seed(0)
        options = {"num_chains": 5, "num_steps": 4, "num_leapfrog": 3, "compile": compile}
        found.append(annealed_log_evidence(chain_pair(), x, **options))
    eager, compiled = found
    torch.testing.assert_close(compiled.log_weights, eager.log_weights)
    torch.testing.assert_close(compiled.z, eager.z)
    assert compiled.path.value.isfinite().all()


def test_a_constrained_latent_moves_through_its_bijection():
    """z ~ Gamma(3, 2), x ~ Poisson(z): p(x) is negative binomial."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Gamma(3.0, 2.0))
            pyro.sample("x", dist.Poisson(z), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.LogNormal(torch.log1p(x) - 0.5, 0.7))

    x = torch.tensor([0.0, 1, 3, 6])
    found = annealed_log_evidence(pv.Pair(model, guide), x, num_steps=20, num_chains=300)
    truth = dist.NegativeBinomial(3.0, probs=torch.tensor(1 / 3)).log_prob(x)
    assert within(found.value, truth, found.stderr)
    assert (found.z["z"] > 0).all()


def test_several_latent_sites():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(a.sum(-1) + b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("b", dist.Normal(0.0, 1.0))

    x = torch.tensor([-2.0, 0.5, 3.0])
    found = annealed_log_evidence(pv.Pair(model, guide), x, num_steps=20, num_chains=300)
    assert within(found.value, dist.Normal(0.0, 2.0).log_prob(x), found.stderr)
    assert found.z["a"].shape == (300, 3, 2) and found.z["b"].shape == (300, 3)


def test_what_cannot_be_annealed_is_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Bernoulli(0.5))

    with pytest.raises(ValueError, match=r"'z' is discrete.*use log_evidence"):
        annealed_log_evidence(pv.Pair(model, guide), torch.randn(3))


@pytest.mark.parametrize("name", ["num_steps", "num_chains", "num_leapfrog"])
@pytest.mark.parametrize("value, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_counts_are_positive_whole_numbers(name, value, error):
    world = linear_gaussian()
    with pytest.raises(error, match=f"{name}: expected a positive whole number"):
        annealed_log_evidence(world.pair(), world.sample(2), **{name: value})


def test_divergent_chains_are_reported_and_not_averaged_in():
    """A likelihood a thousand times narrower than q: with few temperatures trajectories diverge."""
    world = linear_gaussian(s=1e-3)
    x = world.sample(5)
    found = annealed_log_evidence(world.pair(0.0, 1000.0), x, num_steps=4, num_chains=4)
    assert found.value.isfinite().all()
    assert found.warnings()


def test_the_pair_is_left_as_it_was():
    world = linear_gaussian()
    pair = world.pair(0.3)
    pair.train()
    annealed_log_evidence(pair, world.sample(2), num_steps=2, num_chains=2)
    assert pair.training and all(p.grad is None for p in pair.parameters())


def test_the_temperatures_run_from_0_to_1_with_small_steps_at_both_ends():
    betas = space_temperatures(20)
    steps = betas.diff()
    assert betas[0] == 0 and betas[-1] == 1 and len(betas) == 21
    assert (steps > 0).all() and torch.allclose(steps, steps.flip(0))
    assert steps[0] < steps[9] / 5
    assert space_temperatures(1).tolist() == [0, 1]


def test_the_warnings_name_what_speaks_against_the_numbers():
    world = linear_gaussian()
    found = annealed_log_evidence(world.pair(), world.sample(4), num_steps=2, num_chains=3)
    assert found.warnings() == []

    some = torch.tensor([1.0, 1.0, 1.0, 0.0])
    few = dataclasses.replace(found, acceptance=some).warnings()
    assert few == [
        "fewer than 30 % of the trajectories were accepted for 25 % of the data: take more steps, "
        "num_steps="
    ]
    lost = dataclasses.replace(found, divergent=some, stderr=2 * some).warnings()
    assert "more than 10 % of the trajectories diverged for 75 %" in lost[0]
    assert "the standard error is above a nat for 75 %" in lost[1]
