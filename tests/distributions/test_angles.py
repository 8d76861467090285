"""The von Mises: its integral, its draws, its digits."""

import math

import pyro.distributions as dist
import pytest
import torch

from pyro_vae import distributions as ours
from tests.draws import assert_within_errors


@pytest.mark.parametrize("concentration", [1e-6, 0.1, 1.0, 30.0, 1e3])
def test_the_von_mises_integrates_to_one(concentration):
    x = torch.linspace(-math.pi, math.pi, 400_001).double()
    p = ours.VonMises(torch.tensor(2.5).double(), torch.tensor(concentration).double())
    assert torch.trapezoid(p.log_prob(x).exp(), x).item() == pytest.approx(1, abs=1e-6)
    assert_within_errors(
        torch.cos(p.sample((8000,)) - 2.5),
        torch.trapezoid(p.log_prob(x).exp() * (x - 2.5).cos(), x),
        floor=1e-6,
    )
    assert p.support.check(p.sample((100,))).all() and not p.support.check(torch.tensor(3.2))


def test_the_von_mises_keeps_its_digits():
    x, loc, kappa = torch.tensor(0.101), torch.tensor(0.1), torch.tensor(1e6)
    normal = dist.Normal(loc.double(), 1e-3).log_prob(x.double())
    assert ours.VonMises(loc, kappa).log_prob(x).item() == pytest.approx(normal.item(), abs=1e-3)
    assert abs(dist.VonMises(loc, kappa).log_prob(x).item() - normal.item()) > 1e-2, (
        "torch's would do"
    )
    torch.testing.assert_close(
        ours.VonMises(loc, kappa / 1e6).log_prob(x), dist.VonMises(loc, kappa / 1e6).log_prob(x)
    )
