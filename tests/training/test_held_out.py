"""The ELBO that is reported after each epoch."""

from functools import partial

import pytest
import torch

import pyro_vae as pv
from pyro_vae.training.held_out import HeldOut
from tests.runs import RUN, X, make


def test_reported_elbo_moves_with_the_weights_alone():
    h = pv.fit(make(), X, optimizer=partial(torch.optim.SGD, lr=0.0), **RUN)
    assert len(set(h.elbo)) == 1 < len(set(h.loss))


def test_reported_elbo_is_of_the_validation_data_at_weight_one():
    x_val = X[:7] + 1
    plain = pv.fit(make(), X, validation=x_val, **RUN)
    pair = make()
    annealed = pv.fit(
        pair, X, validation=x_val, objective=pv.KLWeight(pv.Objective(pair), 0.0), **RUN
    )
    again = pv.diagnostics.elbo(pair, x_val, num_samples=4000)

    assert plain.elbo[0] == pytest.approx(-plain.loss[0], rel=0.5)
    assert annealed.kl[-1] > plain.kl[-1] > 0
    assert annealed.loss[-1] < -annealed.elbo[-1] - 0.5 * annealed.kl[-1]
    spread = again.stderr * 4000**0.5 / 7
    assert abs(annealed.elbo[-1] - again.value.mean()) < 5 * spread.square().sum().sqrt()


def test_the_measurement_is_the_same_each_time_and_draws_nothing():
    held_out = HeldOut(make(), (X,), seed=4)
    state = torch.get_rng_state()
    first, second = held_out.measure(), held_out.measure()

    assert first == second
    assert first.elbo == first.reconstruction - first.kl
    assert torch.equal(state, torch.get_rng_state())
    assert HeldOut(held_out.pair, (X,), seed=5).measure() != first
