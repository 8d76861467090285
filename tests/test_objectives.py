"""Objectives: against Pyro's own numbers, against their terms on the same draws, and in closed form."""

import math
from functools import partial

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.weights.traces import quietly
from pyro_vae.weights.weights import weigh

X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def fresh():
    pyro.clear_param_store()
    torch.manual_seed(0)


@pytest.fixture(params=["StandardNormal", "Laplace"])
def pair(request):
    prior = {"StandardNormal": pv.StandardNormal, "Laplace": pv.Laplace}[request.param](2)
    return pv.VAE(prior=prior, likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3))


def seeded(fn, seed=1):
    torch.manual_seed(seed)
    return fn()


def gradients(loss, pair):
    return torch.autograd.grad(loss, [p for p in pair.parameters() if p.requires_grad])


@pytest.mark.parametrize("elbo", [Trace_ELBO(), Trace_ELBO(num_particles=3), TraceMeanField_ELBO()])
def test_objective_is_pyros_loss_per_datum(pair, elbo):
    ours = seeded(lambda: pv.Objective(pair, elbo)(X))
    theirs = seeded(lambda: elbo.loss(pair.model, pair.guide, X))

    assert ours.item() == pytest.approx(theirs / len(X), rel=1e-6)


def test_gradient_is_that_of_the_mean(pair):
    mean = gradients(seeded(lambda: pv.Objective(pair)(X)), pair)
    total = gradients(
        seeded(lambda: Trace_ELBO().differentiable_loss(pair.model, pair.guide, X)), pair
    )

    for a, b in zip(mean, total, strict=True):
        torch.testing.assert_close(a, b / len(X), rtol=1e-5, atol=1e-6)
        assert a.abs().sum() > 0


def test_objective_needs_neither_a_store_nor_a_name_of_its_own(pair):
    other = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    for one in (pair, other):
        assert all(g.abs().sum() > 0 for g in gradients(pv.Objective(one)(X), one))
    assert not list(pyro.get_param_store().keys())


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
        (lambda pair: pv.linear(0), ValueError, "steps: expected a positive whole number, got 0"),
        (lambda pair: pv.Objective(nn.Linear(2, 2)), TypeError, "model and guide, got Linear"),
        (
            lambda pair: pv.Objective(pair, "elbo"),
            TypeError,
            "elbo: expected an object such as Trace_ELBO",
        ),
    ],
)
def test_bad_arguments(make, error, words, pair):
    with pytest.raises(error, match=words):
        make(pair)


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
