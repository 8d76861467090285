"""Counts with a total, beyond their contract."""

import math
from functools import partial

import pytest
import torch

import pyro_vae as pv

small = partial(pv.networks.mlp, hidden=(8,))


def vae(likelihood, variational=None):
    x = likelihood.event_shape
    q = pv.Normal(2, given=x, net=small) if variational is None else variational
    return pv.VAE(prior=pv.StandardNormal(2), likelihood=likelihood, variational=q)


@pytest.mark.parametrize("kind", [pv.Multinomial, pv.DirichletMultinomial])
def test_counts_of_any_total_are_trained_on_and_draws_have_the_one_asked_for(kind):
    pair = vae(kind(6, given=2, net=small, total_count=9))
    x = torch.distributions.Poisson(3.0).sample((50, 6))
    history = pv.fit(pair, x, epochs=2, progress=False)

    assert math.isfinite(history.elbo[-1]) and x.sum(-1).unique().numel() > 5
    assert (pv.simulate(pair, 20)["x"].sum(-1) == 9).all()


MISUSES = {
    "a negative number of trials": (
        lambda: pv.Binomial(2, given=3, total_count=-1),
        ValueError,
        "total_count: expected finite values within .*got -1",
    ),
    "counts over no classes": (
        lambda: pv.Multinomial((), given=3),
        ValueError,
        r"\(\) has too few dimensions",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
