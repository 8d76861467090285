"""What is rewritten for the CPU, against what it stands for."""

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import linear

from pyro_vae.compiling.rewrites import Rewrites

aten = torch.ops.aten


def rewrite(function, *args):
    graph = make_fx(function, tracing_mode="fake")(*args)
    Rewrites()(graph.graph)
    graph.graph.lint()
    graph.recompile()
    return graph, {node.target for node in graph.graph.nodes}


def test_a_logarithm_near_one_keeps_its_digits():
    """Against float64, in units of the last digit."""
    x = torch.cat([torch.logspace(-45, 38, 20_001), torch.tensor([0.0]), -torch.rand(1000)])
    graph, targets = rewrite(torch.log1p, x)
    truth = x.double().log1p()
    error = (graph(x).double() - truth).abs() / truth.abs().clamp(min=1e-45)
    assert aten.log1p.default not in targets
    assert error.max() < 4 * torch.finfo(x.dtype).eps


def test_a_logarithm_at_the_ends_is_that_of_torch():
    x = torch.tensor([-1.0, float("inf"), float("nan"), -2.0])
    graph, _ = rewrite(torch.log1p, x)
    torch.testing.assert_close(graph(x), torch.log1p(x), equal_nan=True)


def test_a_tanh_keeps_its_digits():
    x = torch.cat([torch.linspace(-30, 30, 200_001), torch.logspace(-40, 0, 20_001)])
    graph, targets = rewrite(torch.tanh, x)
    truth = x.double().tanh()
    error = (graph(x).double() - truth).abs() / truth.abs().clamp(min=1e-38)
    assert aten.tanh.default not in targets
    assert error.max() < 4 * torch.finfo(x.dtype).eps
    ends = torch.tensor([float("inf"), -float("inf"), float("nan"), 100.0])
    torch.testing.assert_close(graph(ends), ends.tanh(), equal_nan=True)


def test_a_tanh_of_float64_is_that_of_torch():
    _, targets = rewrite(torch.tanh, torch.zeros(2).double())
    assert aten.tanh.default in targets


def test_a_bias_is_added_after_its_product():
    layer, x = nn.Linear(3, 2), torch.randn(5, 3)

    def forward(x, weight, bias):
        return aten.addmm(bias, x, weight.t())

    with torch.no_grad():
        graph, targets = rewrite(forward, x, layer.weight, layer.bias)
        found = graph(x, layer.weight, layer.bias)
    assert aten.addmm.default not in targets and aten.mm.default in targets
    torch.testing.assert_close(found, linear(x, layer.weight, layer.bias))


def test_a_graph_compiled_elsewhere_is_none_for_here(monkeypatch):
    here = Rewrites().uuid()
    assert Rewrites().uuid() == here
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert Rewrites().uuid() != here
