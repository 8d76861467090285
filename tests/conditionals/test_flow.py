"""Flows: passes, where they start, what is refused."""

import pytest
import torch
import zuko

import pyro_vae as pv


def test_a_flow_of_the_users_own():
    def triangular(features, context, passes=None):
        return zuko.flows.MAF(features, context, transforms=1, passes=passes, hidden_features=(8,))

    q = pv.Flow((2, 2), given=3, flow=triangular, context=5, passes=2)

    assert q.net.out_shape == (5 + 2 * 4,), "the context, and the normal at which it starts"
    assert repr(q) == "Flow((2, 2) | (3,), flow=triangular, passes=2)"
    assert q(torch.randn(6, 3)).rsample().shape == (6, 2, 2)


def test_an_inverse_autoregressive_draw_takes_one_pass():
    q = pv.Flow(6, given=3, flow=pv.IAF, transforms=2, hidden_features=(16,))
    passes = []
    for t in q.flow.transform.transforms:
        t.transform.hyper.register_forward_hook(lambda *_: passes.append(1))

    p = q(torch.zeros(5, 3))
    z = p.rsample((4,))
    kept = p.log_prob(z)
    assert len(passes) == 2
    torch.testing.assert_close(p.log_prob(z.clone()), kept, rtol=1e-4, atol=1e-4)
    assert len(passes) > 2 * 6


@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize(
    "kind", [pv.IAF, zuko.flows.MAF, zuko.flows.NSF, zuko.flows.RealNVP], ids=lambda f: f.__name__
)
def test_a_conditional_flow_starts_at_a_normal_read_off_what_is_given(kind, d):
    q = pv.Flow(d, given=3, flow=kind)
    x = 2 * torch.randn(200, 3)
    normal = q(x).flow.base
    z = normal.sample()
    assert normal.mean.std(0).min() > 0.01 and normal.stddev.std(0).min() > 0.005
    assert (q(x).log_prob(z) - normal.log_prob(z)).abs().mean() < 0.1
    assert isinstance(pv.Flow(d, flow=kind)().flow.base, zuko.distributions.DiagNormal)


MISUSES = {
    "a flow from what is positive": (
        lambda: pv.Flow(2, given=3, base=pv.Gamma),
        ValueError,
        "base: expected a family over the reals, .* got .*Gamma",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
