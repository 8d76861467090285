"""Pyro's `Trace_ELBO` in arithmetic that stays in tensors, against Pyro's own."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

import pyro_vae as pv
from pyro_vae.objectives.compiled import as_exportable
from pyro_vae.objectives.trace_elbo import TensorTraceELBO
from tests.compiling.pairs import PAIRS, loss_and_gradients, same, vae


class PyrosOwn(Trace_ELBO):
    """Pyro's own arithmetic, which `Objective` would exchange for ours."""


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((9, 5), 0.4))


def test_a_subsampling_plate_of_the_users_keeps_its_scale(x):
    def model(x):
        with pyro.plate("data", 90, subsample_size=x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None].expand(-1, 5), 1.0).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.1))
        with pyro.plate("data", 90, subsample_size=x.shape[0]):
            pyro.sample("z", dist.Normal(loc, 0.5))

    torch.manual_seed(0)
    theirs = Trace_ELBO().loss(model, guide, x)
    torch.manual_seed(0)
    assert Trace_ELBO().loss(model, guide, x) == pytest.approx(theirs)
    torch.manual_seed(0)
    ours = as_exportable(Trace_ELBO()).differentiable_loss(model, guide, x)
    assert ours.item() == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("kind", ["normal", "categorical, by the score function"])
@pytest.mark.parametrize("num_particles", [1, 3])
def test_it_has_the_value_and_gradients_of_pyros(kind, num_particles, x):
    theirs, ours = (
        pv.Objective(PAIRS[kind](), elbo(num_particles=num_particles))
        for elbo in (PyrosOwn, TensorTraceELBO)
    )
    assert type(theirs.elbo) is PyrosOwn
    (a, da), (b, db) = loss_and_gradients(theirs, x), loss_and_gradients(ours, x)
    same(a, b)
    same(da, db)


def test_it_takes_the_options_of_one_of_pyros():
    elbo = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    ours = pv.Objective(vae(), elbo).elbo
    assert type(ours) is TensorTraceELBO
    assert vars(ours) == vars(elbo)
    assert (ours.num_particles, ours.vectorize_particles) == (3, True)


def test_what_a_guide_observes_does_not_count_and_a_factor_does(x):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), torch.ones(5)).to_event(1), obs=x)

    def guide(x, observes=False, adds=False):
        with pyro.plate("data", x.shape[0]):
            if observes:
                auxiliary = {"is_auxiliary": True}
                pyro.sample("t", dist.Bernoulli(0.3), obs=x[:, 0], infer=auxiliary)
            if adds:
                pyro.factor("term", 2.0 * x[:, 0], has_rsample=False)
            pyro.sample("z", dist.Normal(0.1, 0.5))

    def loss(elbo, **options):
        torch.manual_seed(0)
        return elbo.differentiable_loss(model, partial(guide, **options), x)

    for elbo in (
        TensorTraceELBO(),
        TensorTraceELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1),
    ):
        plain = loss(elbo)
        torch.testing.assert_close(loss(elbo, observes=True), plain)
        torch.testing.assert_close(loss(elbo, adds=True), plain + 2 * x[:, 0].sum())
    stock = loss(Trace_ELBO())
    torch.testing.assert_close(loss(Trace_ELBO(), adds=True), stock + 2 * x[:, 0].sum())
    assert loss(Trace_ELBO(), observes=True) < stock - 1
