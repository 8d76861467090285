"""A loss and its gradients as one graph."""

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.compiling.graph import Root, export
from pyro_vae.compiling.joint import compile_graph
from tests.compiling.pairs import loss_and_gradients, same, vae


def build(net, loss, *tensors, rows=0, backend="eager"):
    root = Root(loss, [net], {})
    root.args = tensors
    graph = export(root, list(tensors), rows)
    return compile_graph(graph, list(tensors), rows, backend)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def test_a_backward_pass_hands_gradients_on_times_what_it_is_given(net):
    x = torch.randn(5, 3)
    run = build(net, lambda x: net(x).exp().sum(), x)
    (2.5 * run(x)).backward()
    (expected,) = torch.autograd.grad(2.5 * net(x).exp().sum(), net.weight)
    torch.testing.assert_close(net.weight.grad, expected)


def test_gradients_of_arguments_are_there_as_well(net):
    x = torch.randn(5, 3, requires_grad=True)
    run = build(net, lambda x: net(x).exp().sum(), x)
    (found,) = torch.autograd.grad(run(x), x)
    (expected,) = torch.autograd.grad(net(x).exp().sum(), x)
    torch.testing.assert_close(found, expected)


def test_a_second_backward_pass_is_refused_in_words(net):
    x = torch.randn(5, 3)
    loss = build(net, lambda x: net(x).sum(), x)(x)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="are there once; compute the loss again"):
        loss.backward()


def test_what_a_loss_does_not_depend_on_has_no_gradient(net):
    x = torch.randn(5, 3)
    run = build(net, lambda x: (x @ net.weight.t()).sum(), x)
    run(x).backward()
    assert net.bias.grad is None and net.weight.grad is not None


def test_what_is_frozen_has_no_gradient(net):
    net.bias.requires_grad_(False)
    x = torch.randn(5, 3)
    run = build(net, lambda x: net(x).sum(), x)
    run(x).backward()
    assert net.bias.grad is None and net.weight.grad is not None


def test_without_gradients_any_outputs_come_back(net):
    x = torch.randn(5, 3)
    with torch.no_grad():
        run = build(net, lambda x: (net(x), x.sum()), x)
        a, b = run(x)
        torch.testing.assert_close(a, net(x))
        torch.testing.assert_close(b, x.sum())


def test_a_step_sets_the_gradients_of_a_call_and_a_backward_pass(x):
    eager, ours = pv.Objective(vae()), pv.Objective(vae())
    ours.compile()
    for rows in (9, 4):
        loss, expected = loss_and_gradients(eager, x[:rows])
        torch.manual_seed(3)
        same(ours.set_gradients(x[:rows]), loss)
        same({name: p.grad for name, p in ours.named_parameters()}, expected)


def test_a_step_in_python_sets_them_too(x):
    objective = pv.Objective(vae())
    loss, expected = loss_and_gradients(objective, x)
    torch.manual_seed(3)
    found = objective.set_gradients(x)
    same(found, loss)
    assert not found.requires_grad
    same({name: p.grad for name, p in objective.named_parameters()}, expected)


def test_whoever_waits_for_a_gradient_is_told(net):
    x, told = torch.randn(5, 3), []
    run = build(net, lambda x: net(x).sum(), x)
    handle = net.weight.register_hook(told.append)
    run.set_gradients(x)
    torch.testing.assert_close(told[0], net.weight.grad)
    handle.remove()
    run.set_gradients(x)
    assert len(told) == 1


def test_gradients_are_stored_as_their_parameters_are():
    """A fused optimiser reads memory from end to end, also beyond a number that was expanded."""
    net = nn.Linear(3, 2, bias=False)
    run = build(net, lambda x: net.weight.sum() + x.mean(), torch.randn(5, 3))
    run.set_gradients(torch.randn(5, 3))
    assert net.weight.grad.stride() == (3, 1)
    assert torch.equal(net.weight.grad, torch.ones(2, 3))

    turned = torch.arange(6.0).view(3, 2)
    run = build(net, lambda x: (net.weight.t() * turned).sum() + x.mean(), torch.randn(5, 3))
    run.set_gradients(torch.randn(5, 3))
    assert net.weight.grad.stride() == (3, 1)
    assert torch.equal(net.weight.grad, turned.t())


def test_a_frozen_part_of_a_compiled_loss_is_trained_again_when_it_thaws(x):
    objective = pv.Objective(vae())
    objective.compile()
    objective.pair.variational.requires_grad_(False)
    objective.set_gradients(x)
    frozen = list(objective.pair.variational.parameters())
    assert all(p.grad is None for p in frozen)
    objective.pair.variational.requires_grad_(True)
    objective.set_gradients(x)
    assert all(p.grad is not None for p in frozen)
