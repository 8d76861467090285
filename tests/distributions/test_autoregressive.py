"""Distributions made dimension by dimension."""

import math

import pyro.distributions as dist
import torch

from pyro_vae.distributions import Autoregressive
from tests.draws import assert_within_errors


def test_an_autoregressive_draw_follows_its_conditionals():
    """A chain: each entry repeats the one before with probability 0.9, the first is 1 with 0.5."""

    def conditionals(a):
        before = torch.nn.functional.pad(a[..., :-1], (1, 0), value=0.5).to(torch.float64)
        return dist.Bernoulli(0.1 + 0.8 * before)

    p = Autoregressive(conditionals, torch.Size([2]), torch.Size([2, 2]))
    a = p.sample((10_000,))
    flat = a.flatten(-2)
    assert a.shape == (10_000, 2, 2, 2) and not p.has_rsample
    for d in range(3):
        assert_within_errors(
            (flat[..., d] == flat[..., d + 1]).double(), torch.tensor(0.9).double()
        )
    repeats = (flat[..., 1:] == flat[..., :-1]).sum(-1)
    truth = math.log(0.5) + repeats * math.log(0.9) + (3 - repeats) * math.log(0.1)
    torch.testing.assert_close(p.log_prob(a), truth.double())
