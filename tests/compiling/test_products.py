"""Large matrix products of compiled code."""

from functools import partial

import torch

import pyro_vae as pv
from pyro_vae.compiling.products import SMALLEST
from tests.compiling.pairs import loss_and_gradients, same, vae


def test_large_products_go_through_the_faster_library_and_agree():
    net = partial(pv.networks.mlp, hidden=(400,))
    pairs = [
        vae(
            likelihood=lambda: pv.Bernoulli(200, given=2, net=net),
            variational=lambda: pv.Normal(2, given=200, net=net),
        )
        for _ in range(2)
    ]
    theirs, ours = map(pv.Objective, pairs)
    ours.compile()
    x = torch.bernoulli(torch.full((64, 200), 0.4))
    assert SMALLEST < 64 * 200 * 400
    (a, da), (b, db) = loss_and_gradients(theirs, x), loss_and_gradients(ours, x)
    same(a, b)
    same(da, db)
