"""Compiled objectives against Pyro's own, with the same random numbers."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.objectives.compiled import as_exportable
from tests.compiling.pairs import ADAM, PAIRS, exported, loss_and_gradients, same, vae


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((9, 5), 0.4))


@pytest.mark.parametrize("kind", ["normal", "categorical, by the score function"])
def test_the_compiled_objective_is_the_eager_one(kind, x):
    theirs, ours = pv.Objective(PAIRS[kind]()), pv.Objective(PAIRS[kind]())
    ours.compile()
    for n in (9, 4):
        (a, da), (b, db) = loss_and_gradients(theirs, x[:n]), loss_and_gradients(ours, x[:n])
        same(a, b)
        same(da, db)


@pytest.mark.parametrize(
    "options", [{}, {"num_particles": 3}, {"num_particles": 3, "vectorize_particles": True}]
)
def test_stock_svi_takes_the_same_steps(options, x):
    pairs = {"a": vae("a"), "b": vae("b")}
    theirs = SVI(pairs["a"].model, pairs["a"].guide, pyro.optim.Adam(ADAM), Trace_ELBO(**options))
    elbo = pv.CompiledTrace_ELBO(**options)
    ours = SVI(pairs["b"].model, pairs["b"].guide, pv.FusedOptim(torch.optim.Adam, ADAM), elbo)
    (
        theirs.evaluate_loss(x),
        ours.evaluate_loss(x),
    )  # the first call may run a pair once more, to count its plates
    for step in range(5):
        torch.manual_seed(step)
        a = theirs.step(x)
        torch.manual_seed(step)
        assert ours.step(x) == pytest.approx(a, rel=1e-5)
    for p, q in zip(*(pair.parameters() for pair in pairs.values()), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
    torch.manual_seed(0)
    a = theirs.evaluate_loss(x)
    torch.manual_seed(0)
    assert ours.evaluate_loss(x) == pytest.approx(a, rel=1e-5)


def by_hand():
    torch.manual_seed(7)
    encoder = nn.Linear(5, 4)

    def model(x):
        scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
        loc = pyro.param("loc", torch.zeros(5))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True) + loc, scale).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.shape[0]):
            loc, raw = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))

    return model, guide


def test_bare_parameters_and_modules_of_a_handwritten_pair_are_trained(x):
    stores = []
    for optim, elbo in (
        (pyro.optim.Adam(ADAM), Trace_ELBO()),
        (pv.FusedOptim(torch.optim.Adam, ADAM), pv.CompiledTrace_ELBO()),
    ):
        pyro.clear_param_store()
        svi = SVI(*by_hand(), optim, elbo)
        torch.manual_seed(0)
        losses = [svi.step(x) for _ in range(10)]
        stores.append(
            (losses, {name: p.detach().clone() for name, p in pyro.get_param_store().items()})
        )
    (a, theirs), (b, ours) = stores
    assert a == pytest.approx(b, rel=1e-5)
    assert set(theirs) == {"encoder$$$weight", "encoder$$$bias", "scale", "loc"}
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    assert ours["scale"] != 2.0


def test_the_mean_field_elbo_is_compiled_too(x):
    theirs = pv.Objective(vae(), TraceMeanField_ELBO())
    ours = pv.Objective(vae(), as_exportable(TraceMeanField_ELBO()))
    torch.manual_seed(3)
    expected = theirs(x)
    torch.manual_seed(3)
    same(exported(ours)(x), expected)


def test_weights_of_the_kl_term_are_read_anew(x):
    theirs, ours = (pv.KLWeight(pv.Objective(vae()), pv.linear(3)) for _ in range(2))
    ours.objective.compile()
    for _ in range(4):
        (a, da), (b, db) = loss_and_gradients(theirs, x), loss_and_gradients(ours, x)
        same(a, b)
        same(da, db)
    assert len(ours.objective._compiled_call_impl._compiled) == 1


def test_an_elbo_that_leaves_the_tensors_is_refused():
    with pytest.raises(TypeError, match="TraceEnum_ELBO reads numbers off its tensors"):
        pv.Objective(vae(), TraceEnum_ELBO()).compile()
