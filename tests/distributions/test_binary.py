"""Zeros and ones, and their relaxation."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vae.distributions import Bernoulli, RelaxedBernoulli


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
