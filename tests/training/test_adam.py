"""Adam with less Python: the numbers, the state and the hooks of torch's own."""

import copy

import pytest
import torch

from pyro_vae.training.adam import Adam
from pyro_vae.training.origin import describe_optimizer


def train(optimizer, parameters, steps):
    for i in range(steps):
        optimizer.zero_grad(set_to_none=True)
        used = parameters if i % 3 else parameters[:1]  # some have no gradient at times
        sum((p * (j + i)).sin().sum() for j, p in enumerate(used)).backward()
        optimizer.step()


def make():
    torch.manual_seed(0)
    shapes, types = [(3, 4), (5,), ()], [torch.float32, torch.float64, torch.float32]
    return [torch.randn(s, dtype=t).requires_grad_() for s, t in zip(shapes, types, strict=True)]


def test_its_numbers_and_its_state_are_those_of_torch_to_the_last_bit():
    mine, theirs = make(), make()
    a, b = Adam(mine, 1e-2), torch.optim.Adam(theirs, lr=1e-2, fused=True)
    train(a, mine, 10)
    train(b, theirs, 10)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    torch.testing.assert_close(a.state_dict()["state"], b.state_dict()["state"], rtol=0, atol=0)
    assert a.state_dict()["param_groups"] == b.state_dict()["param_groups"]
    assert describe_optimizer(a) == describe_optimizer(b)


def test_it_goes_on_from_a_state_of_torchs_and_heeds_a_new_rate():
    mine, theirs = make(), make()
    a, b = Adam(mine, 1e-2), torch.optim.Adam(theirs, lr=1e-2, fused=True)
    train(b, theirs, 4)
    a.load_state_dict(copy.deepcopy(b.state_dict()))
    for p, q in zip(mine, theirs, strict=True):
        p.data.copy_(q.data)
    for optimizer, parameters in ((a, mine), (b, theirs)):
        optimizer.param_groups[0]["lr"] = 1e-1
        train(optimizer, parameters, 4)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("with_closure", [False, True])
def test_closures_and_hooks_are_called(with_closure):
    (p, *_) = make()
    optimizer, seen = Adam([p], 1e-2), []
    optimizer.register_step_post_hook(lambda *_: seen.append("hook"))

    def closure():
        optimizer.zero_grad()
        loss = p.sum()
        loss.backward()
        return loss

    closure()
    for _ in range(2):
        loss = optimizer.step(closure) if with_closure else optimizer.step()
    assert (loss is not None) == with_closure and "hook" in seen
