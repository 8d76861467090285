"""Bounds of importance weights: against Pyro's numbers on the same draws, and each other."""

import itertools
import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    RenyiELBO,
    Trace_ELBO,
    TraceMeanField_ELBO,
)
from torch import nn

import pyro_vae as pv
from tests.objectives.worlds import (
    DOUBLY,
    LANDING,
    LEAVE,
    SCORE,
    WORLD,
    Tables,
    agrees,
    estimates,
    flat_gradient,
    hierarchical,
    learned,
    loss_of,
    same_mean,
    seeded,
    small,
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (partial(pv.EvidenceLowerBound, 5), partial(Trace_ELBO, num_particles=5)),
        (partial(pv.AnalyticKL, 5), partial(TraceMeanField_ELBO, num_particles=5)),
        (partial(pv.Renyi, 0.5, 5), partial(RenyiELBO, alpha=0.5, num_particles=5)),
        (partial(pv.ImportanceWeighted, 5), partial(RenyiELBO, alpha=0.0, num_particles=5)),
    ],
)
def test_equals_pyro_on_the_same_draws_of_a_full_plate(ours, theirs):
    pair, x = small(), torch.rand(7, 5).round()
    theirs = theirs(vectorize_particles=True, max_plate_nesting=1)
    a = seeded(lambda: ours().loss(pair.model, pair.guide, x))
    b = seeded(lambda: theirs.loss(pair.model, pair.guide, x))
    assert a == pytest.approx(b, rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        partial(pv.ImportanceWeighted, 5),
        partial(pv.Renyi, 0.5, 5),
        partial(pv.Renyi, -0.5, 5),
        partial(pv.Renyi, 2.0, 5),
        partial(pv.MIWAE, 2, 4),
        partial(pv.PIWAE, 2, 4),
        partial(pv.CIWAE, 0.5, 5),
    ],
)
def test_doubly_reparametrised_has_the_same_mean_and_less_variance(make):
    pair, x = WORLD.pair(shift=0.2, stretch=1.2), WORLD.sample(3).repeat(50, 1)
    size = sum(p.numel() for p in pair.likelihood.parameters())
    plain, doubly = (
        estimates(make(), pair, x, repeats=200) for make in (make, partial(make, gradient=DOUBLY))
    )

    assert same_mean(plain[0], doubly[0])
    assert same_mean(plain[1], doubly[1])
    assert doubly[1][:, size:].var(0).sum() < 0.5 * plain[1][:, size:].var(0).sum()


def test_landing_has_less_variance_near_the_posterior():
    pair, x = WORLD.pair(stretch=1.1), WORLD.sample(5)
    plain, landing = (
        estimates(pv.EvidenceLowerBound(1, g), pair, x, 300)[1] for g in ("reparametrised", LANDING)
    )
    assert landing.var(0)[-10:].sum() < 0.5 * plain.var(0)[-10:].sum()


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize(
    "make", [partial(pv.EvidenceLowerBound, 1, LANDING), partial(pv.AnalyticKL, 1)]
)
def test_latents_that_depend_on_each_other(make, upwards):
    pair, x = hierarchical(upwards), torch.randn(4, dtype=torch.float64).repeat(100)
    plain, other = (estimates(bound, pair, x, 100) for bound in (pv.EvidenceLowerBound(), make()))

    assert same_mean(plain[0], other[0])
    assert same_mean(plain[1], other[1])
    assert not torch.allclose(plain[1], other[1])


def test_bounds_rise_on_the_same_draws():
    pair, x = WORLD.pair(shift=0.3, stretch=1.3), WORLD.sample(5)
    losses = {}
    for m, k in ((100, 1), (20, 5), (2, 50), (1, 100)):
        losses[k] = torch.stack(
            [seeded(lambda m=m, k=k: loss_of(pv.MIWAE(m, k), pair, x), s) for s in range(50)]
        )
    for fewer, more in itertools.pairwise(losses):
        assert (losses[more] < losses[fewer]).all()
    iwae = torch.stack(
        [seeded(lambda: loss_of(pv.ImportanceWeighted(100), pair, x), s) for s in range(50)]
    )
    assert torch.allclose(iwae, losses[100])

    truth = WORLD.log_evidence(x).sum()
    stderr = {k: (v.std() / len(v) ** 0.5).item() for k, v in losses.items()}
    assert all(-losses[k].mean() < truth + 5 * stderr[k] for k in losses)
    assert -losses[1].mean() < truth - 5 * stderr[1]


def test_renyi_falls_with_alpha_between_its_known_cases():
    pair, x = WORLD.pair(shift=0.3, stretch=1.3), WORLD.sample(5)
    orders = [-1.0, 0.0, 0.5, 0.999999, 1.0, 2.0]
    losses = {a: seeded(lambda a=a: loss_of(pv.Renyi(a, 20), pair, x)) for a in orders}

    for low, high in itertools.pairwise(losses):
        assert losses[low] < losses[high]
    assert torch.allclose(losses[0.0], seeded(lambda: loss_of(pv.ImportanceWeighted(20), pair, x)))
    assert torch.allclose(losses[1.0], losses[0.999999], atol=1e-3)
    assert [pv.Renyi(a, 2).bound for a in orders] == [None, *["lower"] * 5]


def test_leaving_one_out_lowers_the_variance():
    x, pair = torch.arange(4).repeat(50), Tables()
    var = {
        g: estimates(pv.ImportanceWeighted(5, g), pair, x, 100)[1].var(0).sum()
        for g in (SCORE, LEAVE)
    }
    assert var[LEAVE] < 0.5 * var[SCORE]


def test_mixed_latents_use_both_kinds_of_gradient():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            values = torch.tensor([0.3, -0.4, 0.6], dtype=torch.float64)
            self.logit, self.loc, self.scale = map(nn.Parameter, values)

        def model(self, x):
            with pyro.plate("data", x.shape[0]):
                c = pyro.sample("c", dist.Bernoulli(0.0 * x + 0.5))
                z = pyro.sample("z", dist.Normal(c, 1.0))
                pyro.sample("x", dist.Normal(z, 0.7), obs=x)

        def guide(self, x):
            with pyro.plate("data", x.shape[0]):
                c = pyro.sample("c", dist.Bernoulli(logits=self.logit + 0.0 * x))
                pyro.sample("z", dist.Normal(self.loc + 0.5 * c + 0.5 * x, self.scale))

        def exact(self, x):
            total = 0.0
            for c in (0.0, 1.0):
                p = (self.logit if c else -self.logit).sigmoid()
                mean = self.loc + 0.5 * c + 0.5 * x
                log_x = (
                    -0.5 * math.log(2 * math.pi * 0.49) - ((x - mean) ** 2 + self.scale**2) / 0.98
                )
                kl = 0.5 * (self.scale**2 + (mean - c) ** 2 - 1) - self.scale.log()
                total = total + p * (log_x - kl + math.log(0.5) - p.log())
            return total.sum()

    pair, x = Both(), torch.randn(3, dtype=torch.float64).repeat(100)
    for bound in (pv.EvidenceLowerBound(1, SCORE), pv.AnalyticKL(3, LEAVE)):
        losses, grads = estimates(bound, pair, x, 100)
        truth = -pair.exact(x)
        assert agrees(losses, truth.detach())
        assert agrees(grads, flat_gradient(truth, learned(pair)))


def test_vamp_flow_and_importance_weights_together():
    q = pv.Flow(2, given=5)
    pair = pv.VAE(
        prior=pv.Vamp(q, torch.rand(3, 5)), likelihood=pv.Bernoulli(5, given=2), variational=q
    )
    for gradient in ("reparametrised", DOUBLY):
        loss = loss_of(pv.ImportanceWeighted(3, gradient), pair, torch.ones(4, 5))
        assert flat_gradient(loss, learned(pair)).isfinite().all()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: pv.ReweightedWakeSleep(1),
            ValueError,
            "num_samples: expected a whole number of at least 2, got 1",
        ),
        (lambda: pv.MIWAE(0, 2), ValueError, "num_groups: expected a positive whole number, got 0"),
        (
            lambda: pv.MIWAE(2, 0),
            ValueError,
            "num_samples: expected a positive whole number, got 0",
        ),
        (
            lambda: pv.CIWAE(1.5, 2),
            ValueError,
            r"beta: expected a finite number within \[0, 1\], got 1.5",
        ),
        (
            lambda: pv.CIWAE(-0.5, 2),
            ValueError,
            r"beta: expected a finite number within \[0, 1\], got -0.5",
        ),
        (lambda: pv.Renyi(math.inf, 2), ValueError, "alpha: expected a finite number, got inf"),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()
