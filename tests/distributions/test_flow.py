"""Flows as distributions: shapes, and the density that a draw keeps."""

import pyro.distributions as dist
import pytest
import torch
import zuko

import pyro_vae as pv
from pyro_vae.distributions import FlowDistribution


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
