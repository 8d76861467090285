"""Steps: compiled, in bfloat16, captured."""

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.training.steps import Step, compile_inside
from tests.runs import RUN, X, equal, make, small, weights


def test_compiled_it_learns_the_same():
    """Here the last batch is smaller, and the KL weight changes at every step."""
    found = []
    for compile in (False, True):
        pair = make()
        objective = pv.KLWeight(pv.Objective(pair), pv.linear(10))
        history = pv.fit(pair, X, validation=X[:10], objective=objective, compile=compile, **RUN)
        assert objective.objective._compiled_call_impl is None, "it is put back"
        found.append((weights(pair), history.loss, history.elbo))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert not equal(found[0][0], make())


def test_compiled_it_resumes(tmp_path):
    """Bit for bit, the compiled code being the same."""
    run = {**RUN, "compile": True}
    whole, halves = make(), make()
    pv.fit(whole, X, **run)
    pv.fit(halves, X, **{**run, "epochs": 2}, checkpoint=tmp_path / "run")
    again = make(seed=9)
    pv.fit(again, X, **run, checkpoint=tmp_path / "run", resume=True)
    assert equal(whole, again)


def test_bfloat16_is_for_the_networks_alone():
    seen = []

    class Spy(nn.Module):
        def __init__(self, given, out):
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x):
            seen.append(self.linear(x).dtype)
            return self.linear(x)

    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2, net=small),
        variational=pv.Normal(2, given=3, net=Spy),
    )
    exact = make()
    history = pv.fit(exact, X, **RUN)
    rough = make()
    close = pv.fit(rough, X, precision="bf16", **RUN)
    assert close.loss == pytest.approx(history.loss, rel=0.05) and not equal(exact, rough)
    assert all(p.dtype is torch.float32 for p in rough.parameters())
    pv.fit(pair, X, precision="bf16", **{**RUN, "epochs": 1})
    assert torch.bfloat16 in seen
    with torch.autocast("cpu", torch.bfloat16):
        assert pair.variational(X).base_dist.loc.dtype is torch.float32


def test_what_cannot_be_compiled_is_refused():
    class Own(nn.Module):
        def __init__(self, pair):
            super().__init__()
            self.pair = pair

        def forward(self, x):
            return pv.Objective(self.pair)(x)

    pair = make()
    with pytest.raises(ValueError, match=r"compile: the objective holds no pv.Objective"):
        pv.fit(pair, X, objective=Own(pair), compile=True, **RUN)
    with pytest.raises(ValueError, match="precision: expected None or 'bf16', got 'fp8'"):
        pv.fit(pair, X, precision="fp8", **RUN)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_as_one_cuda_graph_learns_the_same():
    found = []
    for compile in (False, True):
        pair = make()
        history = pv.fit(pair, X, compile=compile, device="cuda", **RUN)
        found.append((weights(pair), history.loss))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_what_was_compiled_before_stays_compiled():
    pair = make()
    objective = pv.Objective(pair)
    with compile_inside(objective):
        assert objective.is_compiled
    assert not objective.is_compiled

    objective.compile()
    with compile_inside(objective):
        assert objective.is_compiled
    assert objective.is_compiled


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        (lambda x: None, TypeError, "returns the mean loss, .* it returned None"),
        (lambda x: x.sum(1), TypeError, r"it returned Tensor of shape \(50,\)"),
        (lambda x: x.sum(), ValueError, "does not depend on the parameters"),
    ],
)
def test_what_is_no_loss_is_refused_at_the_first_step(returned, error, words):
    class Own(pv.Objective):
        def forward(self, x):
            return returned(x)

    pair = make()
    with pytest.raises(error, match=f"objective: .*{words}"):
        pv.fit(pair, X, objective=Own(pair), **(RUN | {"batch_size": 50}))
    assert equal(pair, make())


def test_the_loss_is_checked_before_the_weights_change():
    pair = make()
    before, seen = weights(pair), []

    def check(loss, batch, random_state):
        seen.append((equal(pair, before), batch[0] is X))
        raise FloatingPointError

    step = Step(pv.Objective(pair), torch.optim.SGD(pair.parameters(), lr=1.0), None, check)
    with pytest.raises(FloatingPointError):
        step((X,))
    assert seen == [(True, True)] and equal(pair, before)
