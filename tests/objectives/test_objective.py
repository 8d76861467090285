"""The mean loss per datum: Pyro's own numbers, and no store."""

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn

import pyro_vae as pv
from tests.objectives.worlds import X, seeded


def gradients(loss, pair):
    return torch.autograd.grad(loss, [p for p in pair.parameters() if p.requires_grad])


@pytest.mark.parametrize("elbo", [Trace_ELBO(), Trace_ELBO(num_particles=3), TraceMeanField_ELBO()])
def test_objective_is_pyros_loss_per_datum(pair, elbo):
    ours = seeded(lambda: pv.Objective(pair, elbo)(X))
    theirs = seeded(lambda: elbo.loss(pair.model, pair.guide, X))

    assert ours.item() == pytest.approx(theirs / len(X), rel=1e-6)


def test_gradient_is_that_of_the_mean(pair):
    mean = gradients(seeded(lambda: pv.Objective(pair)(X)), pair)
    total = gradients(
        seeded(lambda: Trace_ELBO().differentiable_loss(pair.model, pair.guide, X)), pair
    )

    for a, b in zip(mean, total, strict=True):
        torch.testing.assert_close(a, b / len(X), rtol=1e-5, atol=1e-6)
        assert a.abs().sum() > 0


def test_objective_needs_neither_a_store_nor_a_name_of_its_own(pair):
    other = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    for one in (pair, other):
        assert all(g.abs().sum() > 0 for g in gradients(pv.Objective(one)(X), one))
    assert not list(pyro.get_param_store().keys())


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda pair: pv.Objective(nn.Linear(2, 2)), TypeError, "model and guide, got Linear"),
        (
            lambda pair: pv.Objective(pair, "elbo"),
            TypeError,
            "elbo: expected an object such as Trace_ELBO",
        ),
    ],
)
def test_bad_arguments(make, error, words, pair):
    with pytest.raises(error, match=words):
        make(pair)


@pytest.mark.parametrize(
    ("elbo", "draws"),
    [
        (None, 1),
        (Trace_ELBO(num_particles=3), 3),
        (pv.ImportanceWeighted(5), 5),
        (pv.CompiledTrace_ELBO(num_particles=2), 2),
    ],
    ids=["default", "of Pyro", "a bound", "compiled"],
)
def test_draws_are_those_of_the_bound(pair, elbo, draws):
    assert pv.Objective(pair, elbo).num_draws == draws
