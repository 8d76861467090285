"""Angles: the gradient of their draws."""

import math

import pytest
import torch

import pyro_vae as pv


@pytest.mark.parametrize("kappa", [1e-3, 0.5, 5.0, 200.0])
def test_a_draw_of_an_angle_has_the_gradient_of_the_mean(kappa, k=5):
    """E cos(a - μ) = A(κ) = I₁(κ) / I₀(κ), with A' = 1 - A / κ - A²; and E sin(a) = A(κ) sin(μ)."""
    loc = torch.full((20_000,), 2.5).double().requires_grad_()
    concentration = torch.full((20_000,), kappa).double().requires_grad_()
    a = pv.VonMises(()).distribution(loc, concentration).rsample()
    one = torch.tensor(kappa).double()
    ratio = torch.special.i1e(one) / torch.special.i0e(one)

    (in_kappa,) = torch.autograd.grad((a - 2.5).cos().sum(), concentration, retain_graph=True)
    (in_loc,) = torch.autograd.grad(a.sin().sum(), loc)
    for drawn, truth in ((in_kappa, 1 - ratio / one - ratio**2), (in_loc, ratio * math.cos(2.5))):
        assert (drawn.mean() - truth).abs() < k * drawn.std() / 20_000**0.5
