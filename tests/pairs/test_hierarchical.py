"""A linear hierarchy: log p(x) is that of one normal, and the posterior is known at each level."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from tests.oracles import Stacked, affine, near, within

QUIET = {"progress": False}


class Hierarchy(NamedTuple):
    """z2 ~ N(0, I), z1 ~ N(A z2 + a, t² I), x ~ N(B z1 + b, s² I), in float64."""

    a: Tensor
    shift_a: Tensor
    t: float
    b: Tensor
    shift_b: Tensor
    s: float

    @property
    def mean_z1(self) -> Tensor:
        return self.shift_a

    @property
    def cov_z1(self) -> Tensor:
        return self.a @ self.a.T + self.t**2 * torch.eye(len(self.shift_a), dtype=torch.float64)

    @property
    def to_x(self) -> MultivariateNormal:
        cov = self.b @ self.cov_z1 @ self.b.T
        cov = cov + self.s**2 * torch.eye(len(self.shift_b), dtype=torch.float64)
        return MultivariateNormal(self.b @ self.shift_a + self.shift_b, cov)

    def priors(self):
        d2, d1 = self.a.shape[1], self.a.shape[0]
        scale = torch.full((d1,), self.t, dtype=torch.float64)
        low = pv.Normal(d1, given=d2, net=affine(self.a, self.shift_a), scale=scale)
        return [pv.StandardNormal(d2), low]

    def likelihood(self):
        d1, n = self.b.shape[1], self.b.shape[0]
        scale = torch.full((n,), self.s, dtype=torch.float64)
        return pv.Normal(n, given=d1, net=affine(self.b, self.shift_b), scale=scale)

    def bottom_up(self, stretch=1.0):
        """q(z1 | x) and q(z2 | z1) of the posterior, stretched."""
        q1 = condition(self.mean_z1, self.cov_z1, self.b, self.shift_b, self.s, stretch)
        top = torch.eye(self.a.shape[1], dtype=torch.float64)
        q2 = condition(torch.zeros(len(top)).double(), top, self.a, self.shift_a, self.t, stretch)
        return pv.HierarchicalVAE(
            priors=self.priors(), likelihood=self.likelihood(), variationals=[q1, q2]
        ).double()

    def top_down(self, stretch=1.0):
        """q(z2 | x) and q(z1 | x, z2) of the posterior, stretched."""
        d1, n = self.b.shape[1], self.b.shape[0]
        eye, top = torch.eye(d1).double(), torch.eye(self.a.shape[1]).double()
        # x given z2 has the noise of both levels
        noise = self.b @ self.b.T * self.t**2 + self.s**2 * torch.eye(n).double()
        q2 = condition_full(
            top, self.b @ self.a, self.b @ self.shift_a + self.shift_b, noise, stretch
        )

        precision = self.b.T @ self.b / self.s**2 + eye / self.t**2
        from_x = torch.linalg.solve(precision, self.b.T / self.s**2)
        from_z2 = torch.linalg.solve(precision, self.a / self.t**2)
        shift = torch.linalg.solve(precision, self.shift_a / self.t**2) - from_x @ self.shift_b
        net = Stacked(affine(torch.cat([from_x, from_z2], 1), shift))
        tril = stretch * torch.linalg.cholesky(torch.linalg.inv(precision))
        q1 = pv.MultivariateNormal(d1, given=[n, self.a.shape[1]], net=net, scale_tril=tril)
        return pv.HierarchicalVAE(
            priors=self.priors(),
            likelihood=self.likelihood(),
            variationals=[q2, q1],
            order="top_down",
        ).double()


def condition(mean, cov, w, shift, s, stretch):
    """The conditional of a normal vector given what it is observed by, w · + shift + s ε."""
    noise = s**2 * torch.eye(len(shift), dtype=torch.float64)
    return condition_full(cov, w, w @ mean + shift, noise, stretch, mean)


def condition_full(cov, w, mean_seen, noise, stretch, mean=0.0):
    gain = cov @ w.T @ torch.linalg.inv(w @ cov @ w.T + noise)
    left = cov - gain @ w @ cov
    tril = stretch * torch.linalg.cholesky((left + left.T) / 2)
    net = affine(gain, mean - gain @ mean_seen)
    return pv.MultivariateNormal(len(cov), given=w.shape[0], net=net, scale_tril=tril)


def hierarchy() -> Hierarchy:
    g = torch.Generator().manual_seed(4)

    def draw(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64) / math.sqrt(shape[-1])

    return Hierarchy(draw(3, 2), draw(3), 0.6, draw(5, 3), draw(5), 0.5)


ORDERS = pytest.mark.parametrize("order", ["bottom_up", "top_down"])


@ORDERS
def test_with_the_posterior_every_weight_is_log_p_x(order):
    world = hierarchy()
    x = world.to_x.sample((4,))
    pair = getattr(world, order)()
    log_w = pv.diagnostics.log_weights(pair, x, num_samples=3)
    truth = world.to_x.log_prob(x)
    torch.testing.assert_close(log_w, truth.expand(3, 4), rtol=1e-6, atol=1e-6)


@ORDERS
def test_evidence_and_annealing_beside_it(order):
    world = hierarchy()
    x = world.to_x.sample((4,))
    pair = getattr(world, order)(stretch=1.3)
    truth = world.to_x.log_prob(x)
    sampled = pv.diagnostics.log_evidence(pair, x, num_samples=5000, **QUIET)
    annealed = pv.diagnostics.annealed_log_evidence(
        pair, x, num_steps=10, num_chains=40, num_leapfrog=4, **QUIET
    )
    assert within(sampled.value, truth, sampled.stderr)
    assert near(annealed, truth)
    # both factors are stretched: KL(N(m, r²S) ‖ N(m, S)) = d (r² - 1 - log r²) / 2, on average
    gap = pv.diagnostics.posterior_gap(pair, x, num_samples=5000, **QUIET)
    assert (gap.value > 0).all()


def test_draws_are_of_the_marginal():
    world = hierarchy()
    x = pv.simulate(world.bottom_up(), torch.zeros(20_000, 5).double())["x"]
    truth = world.to_x
    assert within(x.mean(0), truth.mean, x.std(0) / len(x) ** 0.5)
    error = (2 / len(x)) ** 0.5 * truth.covariance_matrix.diagonal().outer(
        truth.covariance_matrix.diagonal()
    ).sqrt()
    assert within(x.T.cov(), truth.covariance_matrix, error)


def parts(**changed):
    given = {
        "priors": [pv.StandardNormal(2), pv.Normal(3, given=2)],
        "likelihood": pv.Bernoulli(4, given=3),
        "variationals": [pv.Normal(3, given=4), pv.Normal(2, given=3)],
    }
    return given | changed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"priors": [], "variationals": []}, "priors: expected at least one"),
        ({"priors": [pv.StandardNormal(2)]}, "as many as variationals, got 1 and 2"),
        ({"order": "sideways"}, "order: expected 'bottom_up' or 'top_down', got 'sideways'"),
        ({"likelihood": pv.Bernoulli(4, given=2)}, r"shape of z1: .*\(given\) \(2,\)"),
        ({"priors": [pv.StandardNormal(2), pv.Normal(3, given=1)]}, "shape of z2"),
        ({"priors": [pv.StandardNormal(2), pv.Normal(5, given=2)]}, "shape of z1"),
        ({"variationals": [pv.Normal(3, given=4), pv.Normal(2, given=2)]}, r"given .*\(2,\)"),
        ({"variationals": [pv.Normal(3, given=5), pv.Normal(2, given=3)]}, r"given .*\(5,\)"),
        ({"variationals": [pv.Normal(2, given=4), pv.Normal(3, given=2)]}, "shape of z"),
        ({"variationals": [pv.Gamma(3, given=4), pv.Normal(2, given=3)]}, "supports of z1 differ"),
        (
            {"order": "top_down", "variationals": [pv.Normal(2, given=4), pv.Normal(3, given=4)]},
            "the level above",
        ),
        (
            {
                "order": "top_down",
                "variationals": [pv.Normal(2, given=5), pv.Normal(3, given=[4, 2])],
            },
            "shape of x",
        ),
        ({"encoder": nn.Identity()}, "encoder: .*'top_down'.*part of that one's net"),
        (
            {
                "order": "top_down",
                "variationals": [pv.Normal(2, given=5), pv.Normal(3, given=[4, 2])],
                "encoder": nn.Linear(4, 5),
            },
            "shape of what the encoder returns",
        ),
    ],
)
def test_levels_that_do_not_chain(changed, words):
    with pytest.raises(ValueError, match=words):
        pv.HierarchicalVAE(**parts(**changed))


def test_what_levels_share_is_computed_once():
    calls = []

    class Encoder(nn.Module):
        def forward(self, x):
            calls.append(x.shape)
            return x[..., :3]

    pair = pv.HierarchicalVAE(
        **parts(
            order="top_down",
            variationals=[pv.Normal(2, given=3), pv.Normal(3, given=[3, 2])],
            encoder=Encoder(),
        )
    )
    pair.guide(torch.zeros(5, 4))
    assert calls == [(5, 4)]
    assert pair.levels == ["z2", "z1"]


def test_one_level_is_a_vae():
    torch.manual_seed(0)
    p, q = pv.Bernoulli(4, given=2), pv.Normal(2, given=4)
    one = pv.HierarchicalVAE(priors=[pv.StandardNormal(2)], likelihood=p, variationals=[q])
    vae = pv.VAE(prior=pv.StandardNormal(2), likelihood=p, variational=q)
    x = torch.ones(5, 4)
    losses = []
    for pair in (one, vae):
        torch.manual_seed(1)
        losses.append(pv.Objective(pair)(x))
    assert torch.equal(*losses)
