"""A run that diverged is said to have."""

import pytest

import pyro_vae as pv
from tests.runs import RUN, X, make, ruin


@pytest.mark.parametrize("rate", [1e9, 1e4])
def test_a_learning_rate_far_too_high(rate):
    with pytest.warns(UserWarning, match=r"the run diverged: .* nats, and was"):
        pv.fit(make(), X, **(RUN | {"learning_rate": rate}))


def test_a_run_that_diverges_late():
    with pytest.warns(UserWarning, match="the run diverged"):
        pv.fit(make(), X, **(RUN | {"epochs": 8}), schedule=ruin)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "weight",
    [pv.linear(10), pv.linear(15, to=4.0), pv.cyclical(20), lambda step: 0.0 if step < 5 else 20.0],
)
def test_a_weight_that_rises_is_no_divergence(weight):
    pair = make()
    pv.fit(pair, X, objective=pv.KLWeight(pv.Objective(pair), weight), **(RUN | {"epochs": 30}))


@pytest.mark.filterwarnings("error")
def test_the_best_weights_are_put_back_after_patience():
    pv.fit(make(), X, validation=X, patience=2, schedule=ruin, **(RUN | {"epochs": 30}))
