"""Densities of latents against quadrature and closed forms, and the gradients of their draws."""

import math

import pyro.distributions as dist
import pytest
import scipy.special
import torch
from torch.distributions import kl_divergence

from pyro_vae.distributions import (
    Autoregressive,
    Dirichlet,
    Mixture,
    PowerSpherical,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    UniformSphere,
    VonMisesFisher,
)

KAPPAS = torch.tensor([1e-6, 0.1, 1.0, 10.0, 100.0, 1e4, 1e6]).double()
ZONAL = [PowerSpherical, VonMisesFisher]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def assert_within_errors(draws, truth, k=5, floor=0.0):
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - truth).abs() < k * error + floor).all(), (
        draws.mean(0) - truth
    ) / error


def axis(d, dtype=torch.float64):
    return torch.eye(d, dtype=dtype)[0]


# Spheres: a density of t = μᵀz alone is integrated in u, t = tanh u, times the area of the sphere
# across


def over_sphere(q, d):
    """Points `[m, 1, d]` at every u, and the weights with which a sum over them is an integral over the sphere."""
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
    """E z = A(κ) μ is known; d/dκ and d/dμ of draws are compared with its derivatives, for a random direction t."""
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


# Mixtures: the expectation of a function over a grid is differentiated, and the gradient of draws
# compared with it

COMPONENTS = {
    "normal": lambda loc, scale: dist.Normal(loc, scale).to_event(1),
    "Laplace": lambda loc, scale: dist.Laplace(loc, scale).to_event(1),
    "logistic": lambda loc, scale: dist.Logistic(loc, scale).to_event(1),
    "Cauchy": lambda loc, scale: dist.Cauchy(loc, scale).to_event(1),
    "Gumbel": lambda loc, scale: dist.Gumbel(loc, scale).to_event(1),
    "full": lambda loc, scale: dist.MultivariateNormal(loc, scale_tril=tril(scale)),
    "low rank": lambda loc, scale: dist.LowRankMultivariateNormal(loc, scale.unsqueeze(-1), scale),
}


def tril(scale):
    return torch.diag_embed(scale) + torch.tensor(
        [[0.0, 0.0], [0.8, 0.0]]
    ).double() * scale.unsqueeze(-1)


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_draw_of_a_mixture_has_the_gradient_of_its_expectation(name):
    loc = torch.tensor([[-1.0, 0.5], [1.0, -0.5], [0.3, 1.5]]).double()
    scale = torch.tensor([[0.5, 1.0], [0.8, 0.4], [1.2, 0.7]]).double()
    parameters = (torch.tensor([0.0, 1.0, -0.5]).double(), loc, scale)

    def mixture(logits, loc, scale):
        return Mixture(dist.Categorical(logits=logits), COMPONENTS[name](loc, scale))

    def f(z):
        return torch.sin(z[..., 0] + 0.3) * torch.exp(-z[..., 1].square() / 8) + torch.cos(
            0.7 * z.sum(-1)
        )

    angle = (torch.arange(800).double() + 0.5) * math.pi / 800 - math.pi / 2
    grid = torch.cartesian_prod(angle.tan(), angle.tan())
    grid = (
        grid[(grid > -20).all(-1)] if name == "Gumbel" else grid
    )  # below, its density underflows in the gradient
    weight = (math.pi / 800) ** 2 * (1 + grid.square()).prod(-1)

    def expectation(*parameters):
        return (weight * mixture(*parameters).log_prob(grid).exp() * f(grid)).sum()

    truth = torch.autograd.functional.jacobian(expectation, parameters)
    many = [a.expand(30_000, *a.shape).clone().requires_grad_() for a in parameters]
    p = mixture(*many)
    drawn = torch.autograd.grad(f(p.rsample()).sum(), many)

    assert p.has_rsample
    for mine, true in zip(drawn, truth):
        assert_within_errors(mine, true, floor=2e-3)


def test_draws_of_a_mixture_keep_their_values():
    loc = torch.randn(5, 3, 2, 2, requires_grad=True)
    p = Mixture(dist.Categorical(torch.ones(5, 3)), dist.Normal(loc, 1.0).to_event(2))
    torch.manual_seed(1)
    drawn = p.rsample((7,))
    torch.manual_seed(1)
    assert (
        torch.equal(drawn, p.sample((7,))) and drawn.requires_grad and drawn.shape == (7, 5, 2, 2)
    )


def test_a_mixture_of_others_says_that_it_has_no_reparametrised_draws():
    p = Mixture(dist.Categorical(torch.ones(3)), dist.StudentT(torch.full((3,), 4.0)))
    assert not p.has_rsample and p.sample().shape == ()
    with pytest.raises(
        NotImplementedError, match="a mixture of StudentT has no reparametrised draws"
    ):
        p.rsample()


# Simplex and relaxations


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


def test_relaxations_agree_with_torch_where_that_is_finite_and_are_finite_elsewhere():
    t, logits = torch.tensor(0.7), torch.randn(5)
    ours, theirs = RelaxedBernoulli(t, logits=logits), dist.RelaxedBernoulli(t, logits=logits)
    x = theirs.sample((20,))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-4, atol=1e-4)
    ours, theirs = (
        c(t, logits=logits) for c in (RelaxedOneHotCategorical, dist.RelaxedOneHotCategorical)
    )
    x = theirs.sample((20,))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))

    cold = torch.tensor(0.01)
    q = RelaxedOneHotCategorical(cold, logits=logits.requires_grad_())
    z = q.rsample((1000,))
    assert (dist.RelaxedOneHotCategorical(cold, logits=logits).sample((1000,)) == 0).any() and (
        z > 0
    ).all()
    (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), logits)
    assert gradient.isfinite().all()


# Autoregressive


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
