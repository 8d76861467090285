"""The densities that Pyro lacks, against numerical integration and against their own draws."""

import pyro.distributions as dist
import pytest
import torch
import zuko
from torch.distributions import kl_divergence

import pyro_vae as pv
from pyro_vae.distributions import ContinuousBernoulli, FlowDistribution, Mixture

LOGITS = [0.0, 1e-4, 1e-2, 0.0999, 0.1001, 0.499, 0.501, 1.0, 5.0, 15.0, 17.0, 30.0, 50.0]
LOGITS = torch.tensor([-a for a in reversed(LOGITS[1:])] + LOGITS, dtype=torch.float64)
X = torch.linspace(0, 1, 100_001, dtype=torch.float64).unsqueeze(-1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def integral(f):
    return torch.trapezoid(f, X, dim=0)


def assert_within_errors(draws, truth, k=5):
    """The mean of the draws, over their first dimension, lies within k standard errors of the truth."""
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - truth).abs() < k * error).all(), (draws.mean(0) - truth) / error


# ContinuousBernoulli: densities against the trapezoidal rule, at every logit of the list at once


def test_the_continuous_bernoulli_integrates_to_one():
    p = ContinuousBernoulli(logits=LOGITS).log_prob(X).exp()
    torch.testing.assert_close(integral(p), torch.ones_like(LOGITS), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-6), (torch.float32, 1e-4)], ids=str
)
def test_the_continuous_bernoulli_has_the_moments_of_its_density(dtype, tolerance):
    d, p = (
        ContinuousBernoulli(logits=LOGITS.to(dtype)),
        ContinuousBernoulli(logits=LOGITS).log_prob(X).exp(),
    )
    mean = integral(p * X)
    moments = {
        "mean": mean,
        "variance": integral(p * (X - mean) ** 2),
        "stddev": integral(p * (X - mean) ** 2).sqrt(),
        "entropy": -integral(p * p.log()),
    }
    for name, truth in moments.items():
        value = getattr(d, name)
        value = (value() if callable(value) else value).double()
        torch.testing.assert_close(
            value, truth, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_continuous_bernoulli_has_the_cdf_of_its_density():
    d = ContinuousBernoulli(logits=LOGITS)
    cdf = torch.cumulative_trapezoid(d.log_prob(X).exp(), X, dim=0)

    torch.testing.assert_close(d.cdf(X[1:]), cdf, rtol=0, atol=1e-6)
    torch.testing.assert_close(d.cdf(d.icdf(X)), X.expand(-1, len(LOGITS)), rtol=0, atol=1e-6)
    assert d.cdf(torch.tensor([[-1.0], [2.0]])).unique().tolist() == [0, 1]


def test_the_continuous_bernoulli_is_sampled_from_its_density():
    d = ContinuousBernoulli(logits=LOGITS)
    p, x = d.log_prob(X).exp(), d.sample((20_000,))

    assert ((x >= 0) & (x <= 1)).all()
    for frequency in (1.0, 7.0, 60.0):
        assert_within_errors(torch.cos(frequency * x), integral(p * torch.cos(frequency * X)))


def test_the_continuous_bernoulli_agrees_with_torch_at_moderate_logits():
    logits = LOGITS[(LOGITS.abs() > 0.3) & (LOGITS.abs() < 10)]
    ours, theirs = ContinuousBernoulli(logits=logits), dist.ContinuousBernoulli(logits=logits)
    u = X[1:-1:1000]

    torch.testing.assert_close(ours.log_prob(u), theirs.log_prob(u))
    torch.testing.assert_close(ours.icdf(u), theirs.icdf(u))
    torch.testing.assert_close(ours.cdf(u), theirs.cdf(u))
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance, theirs.variance)


def test_the_kl_between_continuous_bernoullis_is_that_of_their_densities():
    p, q = ContinuousBernoulli(logits=LOGITS), ContinuousBernoulli(logits=LOGITS.flip(0) + 3)
    truth = integral(p.log_prob(X).exp() * (p.log_prob(X) - q.log_prob(X)))
    torch.testing.assert_close(kl_divergence(p, q), truth, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["log_prob", "cdf", "icdf", "mean", "variance", "entropy"])
def test_the_continuous_bernoulli_has_the_gradient_of_its_values(name):
    def value(logits):
        found = getattr(ContinuousBernoulli(logits=logits), name)
        arguments = () if name == "entropy" else (torch.tensor([[0.1], [0.7]]).double(),)
        return found(*arguments) if callable(found) else found

    assert torch.autograd.gradcheck(value, LOGITS.clone().requires_grad_(), rtol=1e-3, atol=1e-6)


def test_the_continuous_bernoulli_has_finite_gradients_at_any_logit():
    logits = torch.tensor([-1e7, -200.0, -1.0, 0.0, 1e-3, 1.0, 200.0, 1e7], requires_grad=True)
    d = ContinuousBernoulli(logits=logits)

    for value in (
        d.log_prob(torch.tensor([[0.0], [0.5], [1.0]])),
        d.mean,
        d.variance,
        d.entropy(),
        d.rsample(),
    ):
        (gradient,) = torch.autograd.grad(value.sum(), logits, retain_graph=True)
        assert value.isfinite().all() and gradient.isfinite().all()


# Mixture


@pytest.mark.parametrize(
    "component",
    [
        dist.Normal(torch.zeros(3, 2), 1.0).to_event(1),
        dist.Beta(torch.ones(3), 2.0),
        dist.Poisson(torch.ones(3, 4, 2)).to_event(2),
        dist.MultivariateNormal(torch.zeros(3, 2), torch.eye(2)),
    ],
    ids=lambda d: str(d.support),
)
def test_a_mixture_has_the_support_of_its_components(component):
    mixture = Mixture(dist.Categorical(torch.ones(3)), component)

    assert mixture.support is component.support or str(mixture.support) == str(component.support)
    assert mixture.expand([5]).support.event_dim == component.support.event_dim
    assert mixture.support.check(mixture.sample((7,))).all()
    assert not mixture.support.check(mixture.sample() * torch.nan).any()


# FlowDistribution


@pytest.fixture
def flow():
    conditional = pv.Flow((2, 3), given=4, flow=zuko.flows.MAF, transforms=2, hidden_features=(8,))
    return conditional, conditional(torch.randn(5, 4))


def gradients(value, module):
    return torch.autograd.grad(value.sum(), list(module.parameters()), retain_graph=True)


def test_a_flow_has_the_event_shape_asked_for(flow):
    _, q = flow
    z = q.sample((7,))

    assert (q.batch_shape, q.event_shape, z.shape) == ((5,), (2, 3), (7, 5, 2, 3))
    assert q.support.event_dim == 2 and q.support.check(z).all()
    assert q.expand([2, 5]).log_prob(z[:, None]).shape == (7, 2, 5)
    torch.testing.assert_close(q.log_prob(z), q.flow.log_prob(z.flatten(-2)))


def test_the_density_of_a_draw_is_that_of_its_value(flow):
    conditional, q = flow
    z = q.rsample((7,))
    kept, recomputed = q.log_prob(z), q.log_prob(z.clone())

    assert q.log_prob(z) is kept, "kept from the draw"
    assert recomputed is not kept
    torch.testing.assert_close(kept, recomputed, rtol=1e-4, atol=1e-4)
    for a, b in zip(gradients(kept, conditional), gradients(recomputed, conditional)):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(q.log_prob(z), q.log_prob(z + 1))


def test_a_draw_without_gradient_gets_its_density_with_one(flow):
    conditional, q = flow
    z = q.sample()
    with torch.no_grad():
        assert q.log_prob(z) is q.log_prob(z)
        kept = q.log_prob(z)

    assert not z.requires_grad and not kept.requires_grad
    assert any(g.abs().sum() > 0 for g in gradients(q.log_prob(z), conditional))
    torch.testing.assert_close(q.log_prob(z), kept, rtol=1e-4, atol=1e-4)


def test_a_flow_reshapes_without_mixing():
    """Six independent normals as a flow: every entry keeps its place."""
    loc = torch.arange(6.0)
    base = dist.Normal(loc, 1.0).to_event(1)
    base.rsample_and_log_prob = lambda shape: (
        loc.expand(*shape, 6),
        base.log_prob(loc.expand(*shape, 6)),
    )
    q, truth = FlowDistribution(base, (2, 3)), dist.Normal(loc.reshape(2, 3), 1.0).to_event(2)
    z = torch.randn(4, 2, 3)

    torch.testing.assert_close(q.log_prob(z), truth.log_prob(z))
    torch.testing.assert_close(q.rsample((4,)), truth.mean.expand(4, 2, 3))
