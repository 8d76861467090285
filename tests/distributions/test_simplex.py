"""The Dirichlet: its draws and their gradient."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vae.distributions import Dirichlet
from tests.draws import assert_within_errors


@pytest.mark.parametrize("alpha", [0.02, 0.5, 3.0])
def test_the_dirichlet_is_drawn_from_its_density_with_its_gradient(alpha):
    a = alpha * torch.tensor([1.0, 2.0, 0.5]).double()
    z = Dirichlet(a).sample((50_000,))
    assert_within_errors(z, a / a.sum(), floor=1e-12)
    assert_within_errors(
        z.square(), dist.Dirichlet(a).variance + (a / a.sum()).square(), floor=1e-12
    )
    assert (z > 0).all() and Dirichlet(a.float()).sample((1000,)).min() > 0

    truth = torch.autograd.functional.jacobian(lambda a: (a / a.sum())[0], a)
    many = a.expand(50_000, 3).clone().requires_grad_()
    (drawn,) = torch.autograd.grad(Dirichlet(many).rsample()[:, 0].sum(), many)
    assert_within_errors(drawn, truth, floor=1e-9)
