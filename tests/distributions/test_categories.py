"""Classes relaxed to the simplex."""

import math

import pyro.distributions as dist
import pytest
import torch

from pyro_vae.distributions import RelaxedOneHotCategorical
from pyro_vae.distributions.categories import FLOOR
from tests.oracles import draw_kl, integrate_relaxed_kl


def test_the_relaxation_agrees_with_torch_where_that_is_finite():
    t, logits = torch.tensor(0.7), torch.randn(5)
    ours, theirs = (
        c(t, logits=logits) for c in (RelaxedOneHotCategorical, dist.RelaxedOneHotCategorical)
    )
    x = theirs.sample((20,))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))


def test_the_relaxation_is_finite_where_that_of_torch_is_not():
    cold, logits = torch.tensor(0.01), torch.randn(5, requires_grad=True)
    q = RelaxedOneHotCategorical(cold, logits=logits)
    z = q.rsample((1000,))
    theirs = dist.RelaxedOneHotCategorical(cold, logits=logits).sample((1000,))
    assert (theirs == 0).any() and (z > 0).all()
    (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.1, 0.3])
def test_a_sure_relaxation_has_the_kl_of_its_draws(temperature):
    logits = torch.tensor([10.0, 0.0])
    t = torch.tensor(temperature)
    q, p = (RelaxedOneHotCategorical(t, logits=given) for given in (logits, torch.zeros(2)))
    found, stderr = draw_kl(q, p)
    truth = integrate_relaxed_kl(10.0, temperature, -math.log(FLOOR))
    assert (found - truth).abs() < 5 * stderr


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
def test_the_density_sums_to_one_with_the_shares_at_the_floor(temperature):
    """E_p[q / p] = 1, where p covers q."""
    torch.manual_seed(0)
    t = torch.tensor(temperature)
    p = RelaxedOneHotCategorical(t, logits=torch.zeros(4))
    q = RelaxedOneHotCategorical(t, logits=torch.tensor([0.5, 0.0, -0.5, -1.0]))
    a = p.sample((100_000,))
    ratio = (q.log_prob(a) - p.log_prob(a)).double().exp()
    assert (ratio.mean() - 1).abs() < 5 * ratio.std() / 100_000**0.5
