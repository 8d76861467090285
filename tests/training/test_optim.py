"""One optimiser over all parameters against Pyro's one for each."""

import copy

import pyro
import pyro.optim
import pytest
import torch

import pyro_vae as pv


def train(optim, steps=3, start=0):
    for step in range(start, start + steps):
        a = pyro.param("a", torch.ones(3))
        b = pyro.param("b", torch.tensor(2.0), constraint=pyro.distributions.constraints.positive)
        ((a * torch.arange(3.0)).sum().square() + step * b.log() ** 2).backward()
        params = {a, b.unconstrained()}
        optim(params)
        for p in params:
            p.grad = None
    return {name: p.detach().clone() for name, p in pyro.get_param_store().items()}


@pytest.mark.parametrize(
    "constructor, theirs, args",
    [
        (torch.optim.Adam, pyro.optim.Adam, {"lr": 0.1}),
        (torch.optim.RMSprop, pyro.optim.RMSprop, {"lr": 0.1, "centered": True}),
        (torch.optim.Adam, pyro.optim.Adam, lambda name: {"lr": 0.1 if name == "a" else 0.01}),
    ],
)
def test_it_takes_the_steps_of_pyros(constructor, theirs, args):
    expected = train(theirs(args))
    pyro.clear_param_store()
    found = train(pv.FusedOptim(constructor, args))
    torch.testing.assert_close(found, expected)
    assert found["a"][1] != 1


def test_gradients_are_clipped_as_pyro_does():
    expected = train(pyro.optim.SGD({"lr": 0.1}, {"clip_norm": 0.5}))
    pyro.clear_param_store()
    torch.testing.assert_close(
        train(pv.FusedOptim(torch.optim.SGD, {"lr": 0.1}, {"clip_norm": 0.5})), expected
    )


def test_a_saved_state_goes_on_exactly(tmp_path):
    optim = pv.FusedOptim(torch.optim.Adam, {"lr": 0.1})
    train(optim)
    optim.save(tmp_path / "optim")
    weights = copy.deepcopy(pyro.get_param_store().get_state())
    expected = train(optim, start=3)

    pyro.clear_param_store()
    pyro.get_param_store().set_state(weights)
    resumed = pv.FusedOptim(torch.optim.Adam, {"lr": 0.1})
    resumed.load(tmp_path / "optim")
    torch.testing.assert_close(train(resumed, start=3), expected, rtol=0, atol=0)


def test_a_state_of_other_parameters_is_refused():
    optim = pv.FusedOptim(torch.optim.Adam, {"lr": 0.1})
    train(optim)
    with pytest.raises(ValueError, match=r"expected a state of \['a', 'b'\], got one of \['c'\]"):
        optim.set_state({"names": ["c"], "optimizer": {}})
    with pytest.raises(ValueError, match="expected what get_state returns"):
        optim.set_state({"a": {}})


def test_a_parameter_that_appears_later_is_trained_too():
    optim = pv.FusedOptim(torch.optim.Adam, {"lr": 0.1})
    train(optim)
    c = pyro.param("c", torch.zeros(2))
    (c - 1).square().sum().backward()
    optim({c})
    torch.testing.assert_close(c.detach(), torch.full((2,), 0.1))


def test_the_constructor_must_be_one():
    with pytest.raises(TypeError, match=r"expected a class of torch.optim, got 'adam'"):
        pv.FusedOptim("adam", {})
