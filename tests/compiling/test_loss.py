"""A compiled loss against the eager one, with the same random numbers."""

import sys

import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.objectives.compiled import as_exportable
from pyro_vae.progress import progress_bar
from tests.compiling.pairs import PAIRS, exported, loss_and_gradients, same, vae


@pytest.mark.parametrize("rows", [(9, 4, 1)], ids=["and smaller batches, and one row"])
@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_a_pair_has_the_loss_and_gradients_of_trace_elbo(make, rows, x):
    theirs, ours = pv.Objective(make()), pv.Objective(make(), as_exportable(Trace_ELBO()))
    run = exported(ours)
    for n in rows:
        if n == 1 and "BatchNorm" in str(list(ours.modules())):
            continue
        torch.manual_seed(3)
        ours.zero_grad()
        run(x[:n]).backward()
        found = {name: p.grad for name, p in ours.named_parameters()}
        loss, gradients = loss_and_gradients(theirs, x[:n])
        torch.manual_seed(3)
        with torch.no_grad():
            same(run(x[:n]), loss)
        same(found, gradients)
    for a, b in zip(theirs.buffers(), ours.buffers(), strict=True):
        if "BatchNorm" not in str(list(ours.modules())):
            same(a, b)
    assert len(run._compiled) <= 2 * (1 + (1 in rows)), "one graph for all batch sizes"


def test_an_exchanged_module_or_parameter_is_noticed(x):
    ours = pv.Objective(vae(), as_exportable(Trace_ELBO()))
    run = exported(ours)
    run(x)
    net = ours.pair.likelihood.net
    last = max(name for name, m in net.named_modules() if isinstance(m, nn.Linear))
    owner, key = net.get_submodule(last.rpartition(".")[0]), last.rpartition(".")[2]

    def exchange_the_module():
        owner._modules[key] = nn.Linear(8, 5)

    def exchange_a_parameter_of_it():
        owner._modules[key].bias = nn.Parameter(torch.ones(5))

    for exchange in (exchange_the_module, exchange_a_parameter_of_it):
        exchange()
        loss, gradients = loss_and_gradients(ours, x)
        torch.manual_seed(3)
        ours.zero_grad()
        found = run(x)
        found.backward()
        same(found.detach(), loss)
        same({name: p.grad for name, p in ours.named_parameters()}, gradients)
    assert len(run._compiled) == 3


def test_a_capacity_rests_in_eval_mode(x):
    ours = pv.Objective(vae(), pv.Capacity(2.0, pv.linear(4)))
    run = CompiledLoss(ours.forward, [ours], before=ours.elbo.advance, backend="eager")
    run(x), run(x)
    ours.eval()
    run(x)
    assert int(ours.elbo.steps) == 2


def test_a_handler_that_scales_is_compiled_in(x):
    pair = vae()
    eager, compiled = pv.Objective(pair), pv.Objective(pair, as_exportable(Trace_ELBO()))
    run = exported(compiled)
    for scale in (0.5, 2.0):
        with poutine.scale(scale=scale):
            torch.manual_seed(3)
            expected = eager(x)
            torch.manual_seed(3)
            same(run(x), expected)


def test_many_kinds_of_calls_are_warned_of():
    parts = {
        "likelihood": lambda: pv.Normal((), given=2),
        "variational": lambda: pv.Normal(2, given=()),
    }
    objective = pv.Objective(vae(**parts), as_exportable(Trace_ELBO()))
    run = CompiledLoss(lambda x, k: k * objective(x), [objective], backend="eager")
    for k in range(8):
        run(torch.ones(3), float(k))
    with pytest.warns(UserWarning, match="ninth kind of call"):
        run(torch.ones(3), 8.0)


def test_a_long_loop_is_warned_of_before_it_is_compiled(x, monkeypatch):
    def loss(x):
        for _ in range(30):
            x = x + 1
        return x.sum()

    monkeypatch.setattr("pyro_vae.compiling.loss.LARGE", 50)
    CompiledLoss(loss, [], backend="eager")(x)
    monkeypatch.setattr("pyro_vae.compiling.loss.LARGE", 20)
    with pytest.warns(UserWarning, match=r"a graph of 3\d operations, .* leave compile=True away"):
        CompiledLoss(loss, [], backend="eager")(x)


def test_the_random_state_outside_is_that_of_the_eager_loss(x):
    states = []
    for run in (pv.Objective(vae()), exported(pv.Objective(vae(), as_exportable(Trace_ELBO())))):
        torch.manual_seed(5)
        run(x)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("flag", [True, False])
def test_the_validation_of_arguments_is_as_it_was(flag, x):
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(flag)
    try:
        exported(pv.Objective(vae(), as_exportable(Trace_ELBO())))(x)
        assert torch.distributions.Distribution._validate_args is flag
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


def test_a_bar_says_that_a_loss_is_being_compiled(x, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    loss = CompiledLoss(lambda x: x.sum(), [], backend="eager")
    with progress_bar(1, "measuring"):
        loss(x)
    assert "compiling" in capsys.readouterr().err
