"""Zeros and ones, and their relaxation."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.distributions import Bernoulli, RelaxedBernoulli
from pyro_vae.distributions.binary import FARTHEST
from tests.oracles import draw_kl, integrate_relaxed_kl


@pytest.mark.parametrize("dtype", [torch.float32, torch.long, torch.bool], ids=str)
def test_zeros_and_ones_of_any_type_are_scored(dtype):
    logits, x = torch.randn(5), torch.tensor([0, 1, 1, 0, 1])
    truth = dist.Bernoulli(logits=logits).log_prob(x.float())
    torch.testing.assert_close(Bernoulli(logits=logits).log_prob(x.to(dtype)), truth)


def test_the_relaxation_agrees_with_torch_where_that_is_finite():
    t, logits = torch.tensor(0.7), torch.randn(5)
    ours, theirs = RelaxedBernoulli(t, logits=logits), dist.RelaxedBernoulli(t, logits=logits)
    x = theirs.sample((20,))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("temperature", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("logit", [-10.0, 0.5, 5.0, 10.0, 25.0])
def test_a_sure_relaxation_has_the_kl_of_its_draws(logit, temperature, dtype):
    t = torch.tensor(temperature, dtype=dtype)
    q, p = (RelaxedBernoulli(t, logits=torch.tensor(loc, dtype=dtype)) for loc in (logit, 0.0))
    found, stderr = draw_kl(q, p)
    truth = integrate_relaxed_kl(logit, temperature, FARTHEST)
    assert (found - truth).abs() < 5 * stderr + 1e-3
    assert truth > 0


@pytest.mark.parametrize("temperature", [0.1, 0.3])
def test_on_the_scale_of_logits_the_kl_is_that_of_two_logistics(temperature):
    scale = torch.tensor(1 / temperature)
    q, p = (dist.Logistic(torch.tensor(loc / temperature), scale) for loc in (10.0, 0.0))
    found, stderr = draw_kl(q, p)
    assert (found - 8.0009).abs() < 5 * stderr


class Constant(nn.Module):
    """The same number, whatever is given."""

    def __init__(self, number):
        super().__init__()
        self.number = nn.Parameter(torch.tensor([number]))

    def forward(self, given):
        return self.number.expand(*given.shape[:-1], 1)


def test_the_bound_of_a_sure_q_lies_below_the_evidence():
    """The likelihood does not look at z, so that log p(x) = -log 2."""
    vae = pv.VAE(
        prior=pv.RelaxedBernoulli(1, logits=0.0, temperature=0.3),
        likelihood=pv.Bernoulli(1, given=1, net=Constant(0.0)),
        variational=pv.RelaxedBernoulli(1, given=1, net=Constant(10.0), temperature=0.3),
    )
    torch.manual_seed(0)
    found = pv.diagnostics.elbo(vae, torch.tensor([[0.0], [1.0]]), num_samples=20_000)
    truth = -math.log(2) - integrate_relaxed_kl(10.0, 0.3, FARTHEST)
    assert ((found.value - truth).abs() < 5 * found.stderr + 1e-3).all()
