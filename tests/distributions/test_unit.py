"""Densities on the unit interval, against numerical integration and their own draws."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence, transforms

from pyro_vae import distributions as ours
from pyro_vae.distributions import ContinuousBernoulli
from tests.draws import assert_within_errors

LOGITS = [0.0, 1e-4, 1e-2, 0.0999, 0.1001, 0.499, 0.501, 1.0, 5.0, 15.0, 17.0, 30.0, 50.0]

LOGITS = torch.tensor([-a for a in reversed(LOGITS[1:])] + LOGITS, dtype=torch.float64)

X = torch.linspace(0, 1, 100_001, dtype=torch.float64).unsqueeze(-1)


def integral(f):
    return torch.trapezoid(f, X, dim=0)


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


# LogitNormal


def test_the_logit_normal_integrates_to_one():
    x = torch.linspace(0, 1, 200_001).double()[:, None]
    p = ours.LogitNormal(
        torch.tensor([-2.0, 0.0, 1.0]).double(), torch.tensor([0.5, 3.0, 0.05]).double()
    )

    torch.testing.assert_close(
        torch.trapezoid(p.log_prob(x).exp(), x, dim=0), torch.ones(3).double(), atol=1e-3, rtol=0
    )
    theirs = dist.TransformedDistribution(
        dist.Normal(p.loc, p.scale), transforms.SigmoidTransform()
    )
    torch.testing.assert_close(p.log_prob(x[1:-1]), theirs.log_prob(x[1:-1]))
    assert (p.log_prob(torch.tensor([[0.0], [1.0]]).double()) == -math.inf).all()
    assert_within_errors(p.expand([2, 3]).sample((8000,))[:, 0].logit(), p.loc, floor=1e-6)


# Beta


def test_the_beta_is_drawn_from_its_density_and_off_the_edge():
    a, b = torch.tensor([0.05, 1.0, 4.0]).double(), torch.tensor([0.05, 2.0, 0.5]).double()
    x = ours.Beta(a, b).sample((20_000,))

    assert ((x > 0) & (x < 1)).all()
    assert_within_errors(x, dist.Beta(a, b).mean)
    assert_within_errors((x - dist.Beta(a, b).mean).square(), dist.Beta(a, b).variance)
