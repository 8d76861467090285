import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import log_evidence, picture, prior_evidence
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.diagnostics.evidence import Evidence
from pyro_vae.diagnostics.second_look import SecondLook, look_again
from tests.oracles import (
    discrete_world,
    linear_gaussian,
    one_of_two_modes,
    partly_there,
    sequential_pair,
    within,
)


def look(pair, x, num_samples=2000):
    return look_again(pair, (x,), log_evidence(pair, x, num_samples=num_samples), num_samples)


def test_simple_monte_carlo_finds_the_evidence():
    world = linear_gaussian(2, 2)
    x = world.sample(30)
    found = prior_evidence(world.pair(shift=5.0), x, num_samples=4000)
    assert within(found.value, world.log_evidence(x), found.stderr)
    assert found.value.dtype == torch.float64


def test_the_latents_may_be_discrete_or_several():
    world, x = discrete_world(), torch.arange(5)
    found = prior_evidence(world.pair(), x, num_samples=4000)
    assert within(found.value, (world.p_z @ world.p_x_given_z).log(), found.stderr)
    x = torch.randn(6)
    scale = math.sqrt(1.5**2 + 0.8**2 + 1)
    found = prior_evidence(sequential_pair(), x, num_samples=4000)
    assert within(found.value, torch.distributions.Normal(0, scale).log_prob(x), found.stderr)


def test_pieces_give_what_one_piece_gives(monkeypatch):
    world = linear_gaussian(2, 2)
    x = world.sample(5)
    monkeypatch.setattr("pyro_vae.weights.blocks.KEPT", 6000)
    monkeypatch.setitem(pv.diagnostics.second_look.DECODED, "cpu", 700)
    found = prior_evidence(world.pair(), x, num_samples=3000)
    assert within(found.value, world.log_evidence(x), found.stderr)


@pytest.mark.parametrize("n, num_samples", [(1, 10_000), (10, 2000), (100, 1000)])
def test_a_missed_mode_is_said(n, num_samples):
    """Nothing that starts at q sees it: its weights are all the same."""
    pair, x = one_of_two_modes(n)
    seen = picture(pair, x, num_samples=num_samples, progress=False)
    assert seen.untrusted() < 0.02 and seen.evidence.ess.min() > 0.95 * num_samples
    (said,) = [warning for warning in seen.warnings() if "miss a mode" in warning]
    assert "draws of the prior find more evidence" in said
    if n == 10:
        excess = seen.second_look.excess
        assert abs(excess.value.mean() - math.log(2)) < 0.15


def test_honest_pairs_are_left_alone():
    """35 looks at 50 data each, with q exact, wide, on both modes."""
    said = []
    for seed in range(30):
        torch.manual_seed(seed)
        world = linear_gaussian(1 + seed % 3, 3, s=1.0)
        x = world.sample(50)
        said += look(world.pair(stretch=1.0 + 0.3 * (seed % 2)), x, 300).warnings()
    for _ in range(5):
        said += look(*one_of_two_modes(50, both=True), 1000).warnings()
    assert said == []


def test_what_few_draws_support_is_not_said():
    """Above three latents, with masked ones, and where hardly a draw of the prior explains x."""
    assert look(linear_gaussian(4, 6).pair(), linear_gaussian(4, 6).sample(3)) is None
    there = partly_there()
    assert look_again(there.pair, there.data, log_evidence(there.pair, *there.data), 100) is None
    rare = Evidence(
        value=torch.ones(4), stderr=0.01 * torch.ones(4), ess=3 * torch.ones(4), khat=torch.ones(4)
    )
    assert SecondLook(rare, Estimate(torch.zeros(4), 0.01 * torch.ones(4))).warnings() == []


def test_the_random_state_is_left_alone():
    pair, x = one_of_two_modes(3)
    first = log_evidence(pair, x, num_samples=100)
    state = torch.get_rng_state()
    look_again(pair, (x,), first, 100)
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_arguments_are_named():
    pair, x = one_of_two_modes(3)
    with pytest.raises(ValueError, match="num_samples: expected a positive whole number"):
        prior_evidence(pair, x, num_samples=0)
    with pytest.raises(TypeError, match="num_samples"):
        prior_evidence(pair, x, num_samples=1.5)
