from contextlib import nullcontext
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyro_vae as pv
from pyro_vae.diagnostics.local import Flows, OtherFamily, OwnFamily, find_spread
from pyro_vae.weights.traces import quietly
from tests.oracles import linear_gaussian


def two_latents(mask=None):
    """Latents over the positive numbers and over vectors, the second perhaps masked."""
    handler = nullcontext() if mask is None else poutine.mask(mask=mask)

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Gamma(2.0, 1.0))
            with handler:
                b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(a + b.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.LogNormal(0.1 * x, 0.5))
            with handler:
                pyro.sample("b", dist.Normal(torch.stack([x, -x], -1), 0.7).to_event(1))

    return pv.Pair(model, guide)


def masked_distribution(mask):
    """The same, masked by the distributions."""

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Gamma(2.0, 1.0))
            b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1).mask(mask))
            pyro.sample("x", dist.Normal(a + b.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.LogNormal(0.1 * x, 0.5))
            fn = dist.Normal(torch.stack([x, -x], -1), 0.7).to_event(1)
            pyro.sample("b", fn.mask(mask))

    return pv.Pair(model, guide)


X = torch.tensor([-1.0, 0.5, 2.0])


def log_guide(z):
    b = torch.stack([X, -X], -1)
    log_b = dist.Normal(b, 0.7).to_event(1).log_prob(z["b"])
    return dist.LogNormal(0.1 * X, 0.5).log_prob(z["a"]), log_b


def test_in_its_own_family_it_starts_as_the_guide():
    pair = two_latents()
    with quietly(pair):
        q = OwnFamily(pair, (X,))
        z, log_q = q.draw(6)
    assert z["a"].shape == (6, 3) and z["b"].shape == (6, 3, 2)
    assert torch.allclose(log_q, sum(log_guide(z)), atol=1e-5)
    assert [len(free.tensor) for free in q.free] == [3, 3, 3, 3]


@pytest.mark.parametrize("make", [two_latents, masked_distribution])
def test_a_mask_counts(make):
    mask = torch.tensor([True, False, True])
    pair = make(mask)
    with quietly(pair):
        z, log_q = OwnFamily(pair, (X,)).draw(6)
    log_a, log_b = log_guide(z)
    assert torch.allclose(log_q, log_a + mask * log_b, atol=1e-5)


@pytest.mark.parametrize("make", [two_latents, masked_distribution])
@pytest.mark.parametrize("mask", [torch.tensor([True, False, True]), False])
def test_another_family_refuses_a_masked_latent(make, mask):
    pair = make(mask)
    with quietly(pair), pytest.raises(ValueError, match=r"'b' is masked.*leave family= out"):
        OtherFamily(pair, (X,), pv.MultivariateNormal)


@pytest.mark.parametrize(
    "family",
    [pv.Normal, pv.MultivariateNormal, partial(pv.LowRankNormal, rank=1), pv.StudentT],
    ids=["normal", "full", "low rank", "student"],
)
def test_another_family_starts_at_the_moments_of_the_guide(family):
    pair = two_latents()
    with quietly(pair):
        q = OtherFamily(pair, (X,), family)
        z, _ = q.draw(4000)
    assert (z["a"].log().mean(0) - 0.1 * X).abs().max() < 0.2
    assert (z["b"].mean(0) - torch.stack([X, -X], -1)).abs().max() < 0.3
    assert (z["a"].log().std(0) / 0.5 - 1).abs().max() < 0.3
    assert (z["b"].std(0) / 0.7 - 1).abs().max() < 0.3


def test_its_density_is_over_the_latents_themselves():
    """A normal over log a is a log-normal over a."""
    pair = two_latents()
    with quietly(pair):
        q = OtherFamily(pair, (X,), pv.Normal)
        z, log_q = q.draw(5)
        normal = q.vectors()
    loc, scale = normal.base_dist.loc, normal.base_dist.scale
    log_a = dist.LogNormal(loc[:, 0], scale[:, 0]).log_prob(z["a"])
    log_b = dist.Normal(loc[:, 1:], scale[:, 1:]).to_event(1).log_prob(z["b"])
    assert torch.allclose(log_q, log_a + log_b, atol=1e-5)


def test_a_flow_for_each_datum():
    pair = two_latents()
    family = partial(pv.Flow, transforms=1, hidden_features=(4,))
    with quietly(pair):
        q = OtherFamily(pair, (X,), family)
        z, log_q = q.draw(6)
    assert isinstance(q.vectors, Flows) and len(q.vectors.flows) == 3
    assert {free.datum for free in q.free} == {0, 1, 2}
    assert z["a"].shape == (6, 3) and (z["a"] > 0).all() and log_q.shape == (6, 3)

    # the density, by a change of variables of each flow's own
    u = q.unconstrained.flatten(z)
    flow = q.vectors.flows[1]()
    mean, spread = (moment[1] for moment in q.moments)
    inner = (u[:, 1] - mean) / spread
    log_jacobian = spread.log().sum() + z["a"][:, 1].log()
    with torch.no_grad():
        expected = flow.log_prob(inner) - log_jacobian
    assert torch.allclose(log_q[:, 1], expected, atol=1e-4)


@pytest.mark.parametrize(
    "family, error, said",
    [
        (lambda d: 3, TypeError, "family: expected a family that, called with a number"),
        (partial(pv.Normal, given=3), TypeError, "with nothing given"),
        (pv.Gamma, ValueError, "family: Gamma .* expected one over the reals"),
        (partial(pv.Mixture, pv.StudentT, components=2), ValueError, "family: Mixture has no"),
    ],
)
def test_families_that_cannot_be_fitted_are_refused(family, error, said):
    pair = two_latents()
    with quietly(pair), pytest.raises(error, match=said):
        OtherFamily(pair, (X,), family)


def test_a_guide_that_cannot_be_refitted_is_refused():
    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2),
        variational=pv.Flow(2, given=3, transforms=1),
    )
    with quietly(pair), pytest.raises(ValueError, match="at latent 'z', FlowDistribution is not"):
        OwnFamily(pair, (torch.ones(4, 3),))


def test_the_spread_of_draws_is_never_zero():
    draws = torch.zeros(5, 2, 3)
    draws[0, 0, 0] = torch.inf
    spread = find_spread(draws)
    assert spread.shape == (2, 3) and (spread > 0).all() and spread.isfinite().all()


def test_it_keeps_the_precision_of_the_pair():
    world = linear_gaussian()
    pair = world.pair()
    with quietly(pair):
        q = OtherFamily(pair, (world.sample(3),), pv.MultivariateNormal)
        _, log_q = q.draw(2)
    assert log_q.dtype == torch.float64
