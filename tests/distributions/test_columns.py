"""Products of distributions."""

import re

import pyro.distributions as dist
import pytest
import torch

from pyro_vae import distributions as ours
from pyro_vae.distributions import Product


def normal(*shape):
    return dist.Normal(torch.randn(*shape), torch.rand(*shape) + 0.5)


def test_a_product_is_the_sum_of_its_parts():
    parts = {
        "a": normal(5, 2).to_event(1),
        "b": dist.Categorical(logits=torch.randn(5, 1, 3)).to_event(1),
    }
    p = ours.Product(parts)
    x = p.sample((7,))

    assert (p.batch_shape, p.event_shape, x.shape) == ((5,), (3,), (7, 5, 3))
    torch.testing.assert_close(
        p.log_prob(x), parts["a"].log_prob(x[..., :2]) + parts["b"].log_prob(x[..., 2:])
    )
    assert p.support.check(x).all() and p.support.event_dim == 1
    assert (
        not p.support.check(x + torch.tensor([0.0, 0.0, 0.5])).any()
        and p.support.check(x + torch.tensor([0.5, 0, 0])).all()
    )
    assert not p.has_rsample and ours.Product({"a": parts["a"]}).has_rsample
    assert p.expand([2, 5]).log_prob(x[:2]).shape == (2, 5)


def test_parts_of_unequal_batches_are_refused():
    parts = {n: dist.Normal(torch.zeros(k, 1), 1.0).to_event(1) for n, k in (("a", 2), ("b", 3))}
    with pytest.raises(
        ValueError,
        match=re.escape("parts: expected distributions of equal batch_shape, got [(2,), (3,)]"),
    ):
        Product(parts)
