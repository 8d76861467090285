"""Classes relaxed to the simplex."""

import pyro.distributions as dist
import torch

from pyro_vae.distributions import RelaxedOneHotCategorical


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
