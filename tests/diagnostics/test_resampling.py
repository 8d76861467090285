"""Weighted draws, and draws that are chosen by their weights."""

import torch

from pyro_vae.diagnostics.resampling import count_effective, draw_weighted, resample
from pyro_vae.weights.traces import quietly
from tests.oracles import linear_gaussian, within


def test_weights_turn_draws_of_q_into_the_posterior():
    world = linear_gaussian(d=2, n=4)
    pair, x = world.pair(shift=0.2, stretch=1.4), world.sample(3)
    with quietly(pair):
        z, weights = draw_weighted(pair, (x,), 20_000)
    torch.testing.assert_close(weights.sum(0), torch.ones(3).double())

    ess = count_effective(weights)
    chosen = resample(weights, z["z"], 5000)
    truth = (x - world.b) @ world.to_mean.T
    spread = world.covariance.diagonal().sqrt()
    assert within(chosen.mean(0), truth, spread * (1 / ess + 1 / 5000).sqrt()[:, None])
    assert (ess < 20_000).all() and (ess > 2000).all()


def test_no_draws_have_a_shape_as_well():
    assert resample(torch.ones(3, 2) / 3, torch.zeros(3, 2, 5), 0).shape == (0, 2, 5)
