"""KL(q ‖ p) of normals whose batches broadcast."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vae.distributions.kl import closed_kl


def full(shape):
    factor = torch.randn(*shape, 2, 2).tril(-1) + torch.eye(2)
    return dist.MultivariateNormal(torch.randn(*shape, 2), scale_tril=factor)


def diagonal(shape):
    return dist.Normal(torch.randn(*shape, 2), torch.rand(*shape, 2) + 0.5).to_event(1)


@pytest.mark.parametrize("make_p", [full, diagonal])
@pytest.mark.parametrize("make_q", [full, diagonal])
def test_each_of_a_batch_is_that_of_two_by_themselves(make_q, make_p):
    torch.manual_seed(0)
    q, p = make_q((5,)), make_p((3, 1))
    kl = closed_kl(q, p)
    z = q.sample((50_000,)).unsqueeze(1)
    ratio = q.log_prob(z) - p.log_prob(z)
    assert kl.shape == (3, 5)
    assert ((ratio.mean(0) - kl).abs() < 5 * ratio.std(0) / len(z) ** 0.5).all()


def test_without_a_closed_form():
    with pytest.raises(NotImplementedError):
        closed_kl(dist.StudentT(3.0), dist.Normal(0.0, 1.0))
