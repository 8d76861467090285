"""A chain as one event: density and draws against the steps one by one."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from pyro_vae.distributions.markov import Markov


def step(z):
    return dist.Normal(0.8 * z, 0.5).to_event(1)


def step_with_context(z, c):
    return dist.Normal(0.8 * z + c, 0.5).to_event(1)


LENGTHS = torch.tensor([4, 1, 2])
WITHIN = torch.arange(4) < LENGTHS.unsqueeze(-1)
START = torch.tensor([1.0, -1.0])


def score_by_hand(z, context=None):
    total = torch.zeros(z.shape[:-2])
    for i, length in enumerate(LENGTHS.tolist()):
        before = START
        for t in range(4):
            at = z[..., i, t, :]
            mean = 0.8 * before + (0 if context is None else context[i, t])
            p = Normal(mean, 0.5) if t < length else Normal(0.0, 1.0)
            total[..., i] += p.log_prob(at).sum(-1)
            before = at
    return total


@pytest.mark.parametrize("has_context", [False, True])
@pytest.mark.parametrize("draws", [(), (5,)])
def test_density_is_that_of_the_steps(has_context, draws):
    context = torch.randn(3, 4, 2) if has_context else None
    chain = Markov(step_with_context if has_context else step, START, WITHIN, context)
    z = torch.randn(*draws, 3, 4, 2)
    torch.testing.assert_close(chain.log_prob(z), score_by_hand(z, context))


def test_shapes():
    chain = Markov(step, START, WITHIN, torch.randn(3, 4, 2).where(WITHIN[..., None], 0.0)[..., :0])
    assert chain.batch_shape == (3,) and chain.event_shape == (4, 2)
    wide = Markov(step, START, WITHIN).expand((5, 3))
    assert wide.batch_shape == (5, 3)
    assert wide.sample().shape == (5, 3, 4, 2)
    assert wide.log_prob(wide.sample()).shape == (5, 3)
    assert Markov(step, START, WITHIN).sample((6, 7)).shape == (6, 7, 3, 4, 2)
    context = Markov(step_with_context, START, WITHIN, torch.randn(3, 4, 2)).expand((5, 3))
    assert context.rsample().shape == (5, 3, 4, 2)


def test_draws_have_the_moments_of_the_chain():
    n = 40_000
    z = Markov(step, START, torch.tensor([True, True, True, False])).sample((n,))
    mean, cov = torch.zeros(3), torch.zeros(3, 3)
    variance = 0.0
    for t in range(3):
        mean[t] = 0.8 ** (t + 1)
        variance = 0.64 * variance + 0.25
        for s in range(t, 3):
            cov[t, s] = cov[s, t] = 0.8 ** (s - t) * variance
    found = z[:, :3, 0]
    assert ((found.mean(0) - mean).abs() < 5 * (cov.diagonal() / n).sqrt()).all()
    error = (cov.diagonal().outer(cov.diagonal()) + cov**2).sqrt() / n**0.5
    assert ((found.T.cov() - cov).abs() < 5 * error).all()
    assert abs(z[:, 3].mean().item()) < 5 / (2 * n) ** 0.5
    assert abs(z[:, 3].var().item() - 1) < 5 * math.sqrt(2 / (2 * n))
    # the whole is one normal
    truth = MultivariateNormal(mean, cov).log_prob(found[:5])
    other = MultivariateNormal(-mean, cov).log_prob(z[:5, :3, 1])
    end = Normal(0.0, 1.0).log_prob(z[:5, 3]).sum(-1)
    chain = Markov(step, START, torch.tensor([True, True, True, False]))
    torch.testing.assert_close(chain.log_prob(z[:5]), truth + other + end, rtol=1e-4, atol=1e-4)


def test_draws_have_gradients_along_the_chain():
    weight = torch.tensor(0.8, requires_grad=True)
    start = START.clone().requires_grad_()
    chain = Markov(lambda z: dist.Normal(weight * z, 0.5).to_event(1), start, WITHIN)
    z = chain.rsample()
    z[1, 1:].sum().backward(retain_graph=True)
    assert not start.grad.any() and not weight.grad.any(), "beyond the end nothing is learned"
    z[0, 3].sum().backward()
    torch.testing.assert_close(start.grad, torch.full((2,), 0.8**4))
    assert weight.grad != 0
    assert not chain.sample().requires_grad


def test_gradients_of_the_density_are_finite_beyond_the_end():
    z = torch.full((3, 4, 2), 0.3, requires_grad=True)
    Markov(step, START, WITHIN).log_prob(z).sum().backward()
    assert z.grad.isfinite().all()
    torch.testing.assert_close(z.grad[1, 3], torch.full((2,), -0.3))


def test_support_is_that_of_real_matrices():
    chain = Markov(step, START, WITHIN)
    assert chain.support.check(torch.zeros(3, 4, 2)).shape == (3,)
    assert chain.has_rsample
