"""A weight on the KL term: against its terms on the same draws, and in closed form."""

import math
from functools import partial

import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.weights.traces import quietly
from pyro_vae.weights.weights import weigh
from tests.objectives.worlds import (
    DOUBLY,
    LEAVE,
    SCORE,
    Tables,
    X,
    agrees,
    flat_gradient,
    learned,
    seeded,
    small,
)


def test_weight_one_is_the_objective(pair):
    plain, weighted = pv.Objective(pair), pv.KLWeight(pv.Objective(pair), 1.0)

    assert torch.equal(seeded(lambda: plain(X)), seeded(lambda: weighted(X)))


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
def test_weight_multiplies_the_kl_term_alone(pair, beta):
    loss = seeded(lambda: pv.KLWeight(pv.Objective(pair), beta)(X))
    with quietly(pair):
        t = seeded(lambda: weigh(pair, (X,), 1))
    reconstruction, kl = t.log_likelihood.mean(), (t.log_variational - t.log_prior).mean()

    assert abs(kl) > 0.05
    assert loss.item() == pytest.approx((-reconstruction + beta * kl).item(), rel=1e-5)


def test_weight_zero_gives_a_learned_prior_no_gradient():
    pair = pv.VAE(
        prior=pv.Normal(2), likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3)
    )
    norm = {}
    for beta in (0.0, 1.0):
        loss = pv.KLWeight(pv.Objective(pair), beta)(X)
        norm[beta] = sum(
            g.abs().sum().item() for g in torch.autograd.grad(loss, list(pair.prior.parameters()))
        )
    assert norm[0.0] == 0 < norm[1.0]


def test_schedule_counts_training_steps_only(pair):
    annealed = pv.KLWeight(pv.Objective(pair), pv.linear(4, to=2.0))
    seen = []
    for training in (True, True, False, False, True, True, True, True):
        annealed.train(training)
        seen.append((int(annealed.steps), annealed._find_weight()))
        annealed(X)
    assert seen == [(0, 0.0), (1, 0.5), (2, 1.0), (2, 1.0), (2, 1.0), (3, 1.5), (4, 2.0), (5, 2.0)]


def test_schedule_goes_on_where_the_checkpoint_left_it(pair, tmp_path):
    weights = []

    def recorded(step):
        weights.append(pv.linear(10)(step))
        return weights[-1]

    run = partial(pv.fit, pair, X, batch_size=10, checkpoint=tmp_path / "run.safetensors", seed=0)
    run(epochs=1, objective=pv.KLWeight(pv.Objective(pair), recorded))
    again = pv.KLWeight(pv.Objective(pair), recorded)
    run(epochs=2, objective=again, resume=True)

    constructed = [0.0]  # a weight is tried once when the objective is made
    assert weights == [
        *constructed,
        *(i / 10 for i in range(5)),
        *constructed,
        *(i / 10 for i in range(5, 10)),
    ]
    assert int(again.steps) == 10


def test_schedule_that_turns_negative_is_refused(pair):
    falling = pv.KLWeight(pv.Objective(pair), lambda step: 1.0 - step)
    falling(X), falling(X)
    with pytest.raises(ValueError, match=r"beta.*at least 0, got -1"):
        falling(X)


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_linear_gaussian_closed_form(elbo, beta):
    scale, k, repeats = 0.7, 50, 40
    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2, net=nn.Linear(2, 3), scale=scale),
        variational=pv.Normal(2, given=3, net=nn.Linear(3, 4)),
    ).double()
    x = X.double()
    decoder = next(m for m in pair.likelihood.modules() if isinstance(m, nn.Linear))
    q = pair.variational(x).base_dist
    with torch.no_grad():
        spread = (q.variance @ decoder.weight.square().T).sum(-1)
        squares = (x - decoder(q.loc)).square().sum(-1) + spread
        reconstruction = -1.5 * math.log(2 * math.pi * scale**2) - squares / (2 * scale**2)
        kl = 0.5 * (q.variance + q.loc.square() - 1 - q.variance.log()).sum(-1)
        expected = (-reconstruction + beta * kl).mean()

        objective = pv.KLWeight(
            pv.Objective(pair, elbo(num_particles=k, vectorize_particles=True)), beta
        )
        losses = torch.stack([objective(x) for _ in range(repeats)])
    stderr = losses.std() / repeats**0.5

    assert stderr < 0.02 * expected
    assert abs(losses.mean() - expected) < 5 * stderr


def test_kl_weight_tempers_the_latents():
    pair, x = small(), torch.rand(7, 5).round()
    for beta in (0.3, 2.0):
        for bound, theirs in (
            (pv.EvidenceLowerBound(), Trace_ELBO()),
            (pv.AnalyticKL(), TraceMeanField_ELBO()),
        ):
            a, b = (
                seeded(partial(pv.KLWeight(pv.Objective(pair, e), beta), x))
                for e in (bound, theirs)
            )
            assert a.item() == pytest.approx(b.item(), rel=1e-5)
    for bound in (
        pv.ImportanceWeighted(3, DOUBLY),
        pv.PIWAE(2, 2, DOUBLY),
        pv.ReweightedWakeSleep(3),
    ):
        with pytest.raises(
            ValueError, match=f"gradient: '{bound.gradient}' is wrong where a KL weight"
        ):
            pv.KLWeight(pv.Objective(pair, bound), 0.5)(x)


@pytest.mark.parametrize("gradient", [SCORE, LEAVE])
def test_discrete_gradient_under_a_kl_weight(gradient):
    pair, beta = Tables(), 0.3
    objective = pv.KLWeight(pv.Objective(pair, pv.EvidenceLowerBound(2, gradient)), beta)
    exact = 0.0
    for x in range(4):
        log_q = pair.q_z[x].log_softmax(-1)
        term = pair.p_x.log_softmax(-1)[:, x] + beta * (pair.p_z.log_softmax(-1) - log_q)
        exact = exact - (log_q.exp() * term).sum() / 4
    x = torch.arange(4).repeat(250)
    losses = [objective(x) for _ in range(60)]
    grads = torch.stack([flat_gradient(loss, learned(pair)) for loss in losses])

    assert agrees(torch.stack(losses).detach(), exact.detach())
    assert agrees(grads, flat_gradient(exact, learned(pair)))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda pair: pv.KLWeight(pv.Objective(pair), -0.1),
            ValueError,
            "beta.*at least 0, got -0.1",
        ),
        (
            lambda pair: pv.KLWeight(pv.Objective(pair), math.inf),
            ValueError,
            "beta.*finite.*got inf",
        ),
        (
            lambda pair: pv.KLWeight(pv.Objective(pair), math.nan),
            ValueError,
            "beta.*finite.*got nan",
        ),
    ],
)
def test_bad_arguments(make, error, words, pair):
    with pytest.raises(error, match=words):
        make(pair)
