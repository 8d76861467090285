"""Densities on the sphere against quadrature and closed forms, and gradients of their draws."""

import math

import pytest
import scipy.special
import torch
from torch.distributions import kl_divergence

from pyro_vae.distributions import PowerSpherical, UniformSphere, VonMisesFisher
from tests.draws import assert_within_errors

KAPPAS = torch.tensor([1e-6, 0.1, 1.0, 10.0, 100.0, 1e4, 1e6]).double()

ZONAL = [PowerSpherical, VonMisesFisher]


def axis(d, dtype=torch.float64):
    return torch.eye(d, dtype=dtype)[0]


# A density of t = μᵀz alone is integrated in u, t = tanh u, times the area of the sphere across


def over_sphere(q, d):
    """Points `[m, 1, d]` at every u, and weights that make a sum an integral over the sphere."""
    u = torch.linspace(-20, 30, 25_001, dtype=torch.float64)
    area = 2 * math.pi ** ((d - 1) / 2) / math.gamma((d - 1) / 2)
    z = torch.zeros(len(u), 1, d).double()
    z[:, 0, 0], z[:, 0, 1] = u.tanh(), 1 / u.cosh()
    return z, (area * (u[1] - u[0]) * u.cosh() ** (1 - d)).unsqueeze(-1)


@pytest.mark.parametrize("d", [2, 3, 5, 10, 50])
@pytest.mark.parametrize("family", ZONAL)
def test_a_density_on_the_sphere_integrates_to_one_and_has_its_mean_and_divergence(family, d):
    q = family(axis(d), KAPPAS)
    z, weight = over_sphere(q, d)
    p, uniform = q.log_prob(z), UniformSphere(torch.zeros(d).double())
    mass = weight * p.exp()

    torch.testing.assert_close(mass.sum(0), torch.ones(len(KAPPAS)).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(q.mean[:, 0], (mass * z[..., 0]).sum(0), rtol=0, atol=1e-6)
    kl = (mass * (p - uniform.log_prob(z))).sum(0)
    torch.testing.assert_close(
        kl_divergence(q, uniform.expand(q.batch_shape)), kl, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(q.entropy(), uniform.entropy() - kl, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        (weight * uniform.log_prob(z).exp()).sum(), torch.tensor(1.0).double()
    )


@pytest.mark.parametrize("d", [2, 3, 5, 10, 50])
def test_the_von_mises_fisher_has_the_normaliser_of_its_bessel_function(d):
    kappa, v = KAPPAS.numpy()[1:], d / 2 - 1
    bessel = scipy.special.ive(v, kappa)
    truth = (
        v * torch.tensor(kappa).log() - d / 2 * math.log(2 * math.pi) - torch.tensor(bessel).log()
    )
    for dtype, atol in ((torch.float64, 1e-8), (torch.float32, 2e-4)):
        q = VonMisesFisher(axis(d, dtype), KAPPAS[1:].to(dtype))
        torch.testing.assert_close(q.log_prob(axis(d, dtype)).double(), truth, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("d", [2, 3, 10])
@pytest.mark.parametrize("family", ZONAL)
def test_draws_on_the_sphere_have_the_mean_and_the_spread_of_their_density(family, d):
    loc = torch.randn(d).double()
    q = family(loc, KAPPAS)
    z, weight = over_sphere(q, d)
    away = (weight * family(axis(d), KAPPAS).log_prob(z).exp() * (1 - z[..., 0]).square()).sum(0)

    a = q.sample((20_000,))
    cosine = a @ (loc / loc.norm())

    assert q.support.check(a).all()
    assert_within_errors(a, q.mean)
    assert_within_errors((1 - cosine).square()[:, :5], away[:5])


@pytest.mark.parametrize("d", [2, 3, 10])
@pytest.mark.parametrize("family", ZONAL)
def test_a_draw_on_the_sphere_has_the_gradient_of_the_mean(family, d):
    """E z = A(κ) μ is known. Its derivatives are compared with those of draws, along a random t."""
    t = torch.randn(d).double()
    for kappa in (0.5, 5.0, 200.0):
        loc, kappas = torch.randn(d).double(), torch.tensor(kappa).double()
        truth = torch.autograd.functional.jacobian(
            lambda m, k: family(m, k).mean @ t, (loc, kappas)
        )

        many_loc = loc.expand(20_000, d).clone().requires_grad_()
        many_kappas = kappas.expand(20_000).clone().requires_grad_()
        drawn = torch.autograd.grad(
            (family(many_loc, many_kappas).rsample() @ t).sum(), (many_loc, many_kappas)
        )

        assert_within_errors(drawn[0], truth[0], floor=1e-9)
        assert_within_errors(drawn[1], truth[1], floor=1e-9)


@pytest.mark.parametrize("family", ZONAL)
def test_any_direction_and_concentration_give_finite_numbers(family):
    loc = (
        torch.tensor([[0.0] * 4, [1e7] * 4, [1e-20] * 4, [0.0, 0.0, 0.0, 1.0]])
        .unsqueeze(1)
        .requires_grad_()
    )
    kappa = torch.tensor([1e-6, 1.0, 1e3, 1e6], requires_grad=True)
    q = family(loc, kappa)
    z = q.rsample((500,))
    for value in (z, q.log_prob(z), q.log_prob(-z), q.entropy()):
        grads = torch.autograd.grad(
            value.sum(), (loc, kappa), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        assert value.isfinite().all() and all(g.isfinite().all() for g in grads)
    torch.testing.assert_close(q.loc.norm(dim=-1), torch.ones(4, 4))


def test_no_sphere_in_one_dimension():
    for make in (
        lambda a: PowerSpherical(a, torch.ones(())),
        lambda a: VonMisesFisher(a, torch.ones(())),
        UniformSphere,
    ):
        with pytest.raises(
            ValueError, match=r"a sphere needs vectors of at least 2 dimensions, got shape \(1,\)"
        ):
            make(torch.ones(1))
