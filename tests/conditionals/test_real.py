"""Families over the reals, beyond their contract."""

import pyro.distributions as dist
import torch

import pyro_vae as pv


def test_the_standard_normal_is_one():
    p, z = pv.StandardNormal((2, 3)), torch.randn(5, 2, 3)
    torch.testing.assert_close(p().log_prob(z), dist.Normal(0.0, 1.0).log_prob(z).sum((1, 2)))


def test_the_learned_scale_of_a_normal_is_that_of_the_residuals():
    x = 3 * torch.randn(4000, 2) + 1
    likelihood = pv.Normal(2, scale="shared")
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.03)
    for _ in range(1500):
        optimizer.zero_grad()
        (-likelihood().log_prob(x).mean()).backward()
        optimizer.step()

    truth = (x - x.mean(0)).square().mean().sqrt()
    torch.testing.assert_close(likelihood().base_dist.scale, truth.expand(2), rtol=1e-3, atol=0)
