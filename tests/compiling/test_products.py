"""Large matrix products of compiled code."""

from functools import partial

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import pyro_vae as pv
from pyro_vae.compiling import products
from pyro_vae.compiling.products import SMALLEST, SWITCH, Products, race
from tests.compiling.pairs import loss_and_gradients, same, vae


@pytest.mark.parametrize("library", ["torch", "onednn"])
def test_large_products_agree_in_either_library(library, monkeypatch):
    monkeypatch.setenv(SWITCH, library)
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


def find_targets(rows, turned=False):
    """The products of a graph after the choice."""
    a, b = torch.zeros(rows, 200), torch.zeros(400, 200) if turned else torch.zeros(200, 400)

    def multiply(a, b):
        return torch.mm(a, b.t() if turned else b)

    graph = make_fx(multiply, tracing_mode="fake")(a, b).graph
    Products()(graph)
    return {str(node.target) for node in graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize("faster, library", [("onednn", "pyro_vae"), ("torch", "aten")])
@pytest.mark.parametrize("turned", [False, True])
def test_the_winner_of_the_race_computes_the_product(faster, library, turned, monkeypatch):
    seen = []

    def fixed(*kind):
        seen.append(kind)
        return {"torch": 1.0, "onednn": 0.5 if faster == "onednn" else 0.95}

    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setattr(products, "race", fixed)
    assert f"{library}.mm.default" in find_targets(64, turned)
    assert seen[0] == ((64, 200), False, (200, 400), turned, torch.get_num_threads())


def test_small_products_do_not_race(monkeypatch):
    monkeypatch.setattr(products, "race", lambda *kind: pytest.fail("it raced"))
    assert "aten.mm.default" in find_targets(4)


def test_a_switch_turns_it_off(monkeypatch):
    monkeypatch.setenv(SWITCH, "torch")
    monkeypatch.setattr(products, "race", lambda *kind: pytest.fail("it raced"))
    assert "aten.mm.default" in find_targets(64)


def test_a_race_has_two_times_and_changes_no_setting():
    threads = torch.get_num_threads()
    times = race((128, 96), True, (96, 64), False, threads)
    assert set(times) == {"torch", "onednn"} and min(times.values()) > 0
    assert torch.get_num_threads() == threads


def test_the_machine_is_described_by_its_processor_and_limits(monkeypatch):
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "AVX2")
    described = Products().describe_machine()
    assert torch.backends.cpu.get_cpu_capability() in described and "AVX2" in described
