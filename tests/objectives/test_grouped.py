"""Bounds in groups, or apart for model and guide: against each other, and against Pyro's."""

import pytest
import torch
from pyro.infer import ReweightedWakeSleep

import pyro_vae as pv
from tests.objectives.worlds import DOUBLY, WORLD, discrete, estimates, seeded


def test_piwae_is_one_bound_for_the_model_and_another_for_the_guide():
    pair, x = WORLD.pair(shift=0.3, stretch=1.3), WORLD.sample(5)
    size = sum(p.numel() for p in pair.likelihood.parameters())
    for gradient in ("reparametrised", DOUBLY):
        made = (
            pv.PIWAE(2, 3, gradient),
            pv.ImportanceWeighted(6, gradient),
            pv.MIWAE(2, 3, gradient),
        )
        ours, model, guide = (seeded(lambda b=b: estimates(b, pair, x, 1)[1][0]) for b in made)
        assert torch.allclose(ours[:size], model[:size])
        assert torch.allclose(ours[size:], guide[size:])
        assert not torch.allclose(model[:size], guide[:size])
        assert not torch.allclose(model[size:], guide[size:])


def test_wake_sleep_weighs_each_datum_where_pyro_weighs_the_batch():
    pair, x = discrete(), torch.rand(7, 5).round()
    theirs = ReweightedWakeSleep(num_particles=5, max_plate_nesting=1)
    for rows, equal in ((x[:1], True), (x, False)):
        a = seeded(lambda r=rows: pv.ReweightedWakeSleep(5).loss(pair.model, pair.guide, r))
        b = seeded(lambda r=rows: theirs.loss(pair.model, pair.guide, r))[0].item()
        assert (a == pytest.approx(b, rel=1e-5)) is equal
