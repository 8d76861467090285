import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import bracket
from pyro_vae.weights import blocks
from tests.oracles import linear_gaussian, one_of_two_modes, within


def test_the_bracket_contains_the_evidence():
    world = linear_gaussian()
    found = bracket(world.pair(0.4, 1.4), 30, num_steps=20, num_chains=30, num_leapfrog=5)
    truth = world.log_evidence(found.x)
    n = len(truth) ** 0.5
    low, high = truth - found.lower.value, found.upper.value - truth
    assert low.mean() > -5 * low.std() / n and high.mean() > -5 * high.std() / n
    assert within(found.lower.value, truth, found.lower.stderr.clamp(min=0.05))
    assert found.distance.value.mean().abs() < 0.3


def test_a_loose_bracket_is_wide_and_still_on_the_right_sides():
    world = linear_gaussian()
    found = bracket(world.pair(2.0, 1.0), 60, num_steps=3, num_chains=2, num_leapfrog=2)
    truth = world.log_evidence(found.x)
    assert found.lower.value.mean() < truth.mean() < found.upper.value.mean()
    assert found.distance.value.mean() > 1


def test_sides_that_are_apart_are_said():
    pair, x = one_of_two_modes(20)
    (said,) = bracket(pair, x, num_steps=10, num_chains=4, num_leapfrog=3).warnings()
    assert "do not reach every mode" in said
    pair = linear_gaussian().pair(0.1)
    assert bracket(pair, 20, num_steps=10, num_chains=4, num_leapfrog=3).warnings() == []


def test_with_the_posterior_as_variational_both_sides_are_the_evidence():
    world = linear_gaussian()
    found = bracket(world.pair(), 6, num_steps=4, num_chains=3)
    truth = world.log_evidence(found.x)
    assert (found.lower.value - truth).abs().max() < 1e-9
    assert (found.upper.value - truth).abs().max() < 1e-9


def test_the_error_of_the_distance_is_that_of_both_sides():
    world = linear_gaussian()
    found = bracket(world.pair(0.4), 6, num_steps=4, num_chains=8)
    both = found.lower.stderr.square() + found.upper.stderr.square()
    assert torch.equal(found.distance.value, found.upper.value - found.lower.value)
    assert torch.allclose(found.distance.stderr, both.sqrt())


def test_a_template_and_chunks_of_data(monkeypatch):
    world = linear_gaussian()
    monkeypatch.setattr(blocks, "KEPT", 50)
    template = torch.zeros(7, 6).double()
    found = bracket(world.pair(), template, num_steps=3, num_chains=3)
    assert found.x.shape == (7, 6) and found.x.abs().min() > 0
    assert (found.upper.value - world.log_evidence(found.x)).abs().max() < 1e-9


def test_covariates_follow_x():
    def model(x, c):
        with pyro.plate("data", len(c)):
            z = pyro.sample("z", dist.Normal(c, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(c)):
            pyro.sample("z", dist.Normal((x + c) / 2, 0.5**0.5))

    c = torch.tensor([-3.0, 0.0, 5.0])
    found = bracket(pv.Pair(model, guide), torch.zeros(3), c, num_steps=3, num_chains=3)
    truth = dist.Normal(c, 2**0.5).log_prob(found.x)
    assert (found.lower.value - truth).abs().max() < 1e-4
    assert (found.upper.value - truth).abs().max() < 1e-4


def test_a_model_that_observes_the_same_x_twice_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("y", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 1.0))

    said = "the same numbers of its argument 0 more than once, at x, y"
    with pytest.raises(ValueError, match=said):
        bracket(pv.Pair(model, guide), torch.zeros(3))


def test_a_pair_without_a_weight_per_datum_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))

    with pytest.raises(ValueError, match="this pair has no weight per datum"):
        bracket(pv.Pair(model, guide), torch.zeros(3), num_steps=2, num_chains=2)


@pytest.mark.parametrize("value, error", [(0, ValueError), (1.5, TypeError)])
def test_counts_are_positive_whole_numbers(value, error):
    with pytest.raises(error, match="num_steps: expected a positive whole number"):
        bracket(linear_gaussian().pair(), 2, num_steps=value)
