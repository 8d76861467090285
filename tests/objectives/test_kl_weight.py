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
from tests.compiling.pairs import exported, loss_and_gradients, same
from tests.objectives.worlds import (
    DOUBLY,
    LEAVE,
    SCORE,
    Tables,
    X,
    agrees,
    flat_gradient,
    hierarchical,
    learned,
    seeded,
    small,
)
from tests.oracles import linear_gaussian, partly_there


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


# a weight for each latent

RISING = {"z1": pv.linear(4), "z2": pv.linear(8, to=2.0)}


def hierarchy(order="bottom_up"):
    torch.manual_seed(0)
    variationals = [pv.Normal(4, given=3), pv.Normal(2, given=4)]
    if order == "top_down":
        variationals = [pv.Normal(2, given=3), pv.Normal(4, given=[3, 2])]
    return pv.HierarchicalVAE(
        priors=[pv.StandardNormal(2), pv.Normal(4, given=2)],
        likelihood=pv.Normal(3, given=4),
        variationals=variationals,
        order=order,
    )


@pytest.mark.parametrize("weights", [{"z2": 0.3}, {"z1": 0.0, "z2": 3.0}, {"z2": 0.5, "z1": 0.5}])
@pytest.mark.parametrize("elbo", [Trace_ELBO, pv.EvidenceLowerBound])
def test_each_weight_multiplies_the_part_of_its_latent(weights, elbo):
    pair = hierarchy()
    loss = seeded(partial(pv.KLWeight(pv.Objective(pair, elbo()), weights), X))
    with quietly(pair):
        terms = seeded(lambda: weigh(pair, (X,), 1, per_site=True))
    costs = [weights.get(name, 1.0) * term.mean() for name, term in terms.latent.items()]

    assert loss.item() == pytest.approx((sum(costs) - terms.observed["x"].mean()).item(), rel=1e-5)


def test_equal_weights_of_all_latents_are_one_weight():
    pair = hierarchy()
    one, each = (pv.KLWeight(pv.Objective(pair), b) for b in (0.3, {"z1": 0.3, "z2": 0.3}))
    assert seeded(partial(one, X)).item() == pytest.approx(seeded(partial(each, X)).item())


@pytest.mark.parametrize("bound", [None, pv.ImportanceWeighted(3)], ids=repr)
def test_compiled_weights_of_levels_are_the_eager_ones(bound):
    pairs = [hierarchy("top_down") for _ in range(2)]
    theirs, ours = (pv.KLWeight(pv.Objective(pair, bound), RISING) for pair in pairs)
    ours.objective._compiled_call_impl = exported(ours.objective)
    for _ in range(5):
        (a, da), (b, db) = loss_and_gradients(theirs, X), loss_and_gradients(ours, X)
        same(a, b)
        same(da, db)
    assert len(ours.objective._compiled_call_impl._compiled) == 1
    assert ours.weight.tolist() == [1.0, 1.0] and int(ours.steps) == 5


def test_weights_of_levels_are_resumed_bit_for_bit(tmp_path):
    options = {"batch_size": 10, "seed": 3, "progress": False}
    path = tmp_path / "run.safetensors"

    def run(pair, **more):
        objective = pv.KLWeight(pv.Objective(pair), RISING)
        pv.fit(pair, X, objective=objective, **options, **more)
        return objective

    whole, first, second = (hierarchy() for _ in range(3))
    objective = run(whole, epochs=2)
    assert int(objective.steps) == 10 and objective.weight.tolist() == [1.0, 2.0]
    run(first, epochs=1, checkpoint=path)
    again = run(second, epochs=2, checkpoint=path, resume=True)
    assert int(again.steps) == 10
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_a_latent_that_does_not_exist_costs_nothing_at_any_weight():
    pair, (x, is_there), _ = partly_there()
    gone = tuple(d[~is_there] for d in (x, is_there))
    losses = [
        seeded(partial(pv.KLWeight(pv.Objective(pair), {"b": weight}), *gone))
        for weight in (0.0, 1.0, 5.0)
    ]
    assert losses[0] == losses[1] == losses[2]


def test_a_name_that_no_latent_has_is_refused_with_those_that_are_there():
    objective = pv.KLWeight(pv.Objective(hierarchy()), {"z1": 1.0, "z9": 0.5})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no latent 'z9'; its latents are 'z1', 'z2'$"):
            objective(X)


def test_a_schedule_of_a_level_that_turns_negative_is_refused():
    falling = pv.KLWeight(pv.Objective(hierarchy()), {"z1": lambda step: 1.0 - step})
    falling(X), falling(X)
    with pytest.raises(ValueError, match=r"beta of 'z1'.*at least 0, got -1"):
        falling(X)


# when it is a bound


@pytest.mark.parametrize(
    ("order", "weights", "before", "after"),
    [
        ("top_down", {"z1": 1.0, "z2": 2.0}, False, True),
        ("top_down", {"z2": 2.0}, False, True),
        ("bottom_up", {"z1": 1.0, "z2": 2.0}, False, False),
        ("bottom_up", {"z2": 2.0}, False, False),
        ("bottom_up", {"z1": 2.0, "z2": 2.0}, False, True),
        ("bottom_up", {"z1": 1.0}, True, True),
        ("top_down", {"z1": 0.5, "z2": 1.0}, False, False),
        ("bottom_up", 1.5, True, True),
        ("bottom_up", 0.5, False, False),
    ],
)
def test_it_says_when_it_is_a_bound(order, weights, before, after):
    objective = pv.KLWeight(pv.Objective(hierarchy(order)), weights)
    assert objective.is_lower_bound is before
    objective(X)
    assert objective.is_lower_bound is after


def test_a_weight_on_one_level_of_an_upward_guide_can_exceed_log_p():
    """E_q[log q(a|x) - log p(a|b)] is negative, where b tells a: more of it raises the ELBO."""
    close = hierarchical(upwards=True)
    x = torch.zeros(2000, dtype=torch.float64)
    with torch.no_grad():
        close.v.copy_(torch.tensor([1.0, 0.0, 1.0, 1.0]))  # a = b but for noise, q(a|x) is wide
        found = -pv.KLWeight(pv.Objective(close), {"a": 50.0})(x)
    truth = torch.distributions.Normal(0.0, (1.0 + 0.64 + 0.25) ** 0.5).log_prob(torch.zeros(()))
    assert found > truth + 1


def test_a_tempered_importance_weighted_bound_is_none():
    """log of the mean of p(x|z) (p/q)^β tends to a number above log p(x), for a narrow q."""
    world = linear_gaussian(d=1, n=1, s=1.0)
    pair, x = world.pair(stretch=0.5), world.sample(200)
    objective = pv.KLWeight(pv.Objective(pair, pv.ImportanceWeighted(500)), 2.0)
    with torch.no_grad():
        above = -objective(x) - world.log_evidence(x).mean()
    assert above > 0.1 and not objective.is_lower_bound
    assert pv.KLWeight(pv.Objective(pair, pv.ImportanceWeighted(5)), 1.0).is_lower_bound
    assert pv.KLWeight(pv.Objective(pair, pv.EvidenceLowerBound(5)), 2.0).is_lower_bound


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
        (
            lambda pair: pv.KLWeight(pv.Objective(pair), {"z": -1.0}),
            ValueError,
            "beta of 'z'.*at least 0, got -1",
        ),
        (
            lambda pair: pv.KLWeight(pv.Objective(pair), {}),
            ValueError,
            "beta: expected a weight for one latent at least, got an empty dictionary",
        ),
        (
            lambda pair: pv.KLWeight(pv.Objective(pair), {1: 0.5}),
            TypeError,
            "beta: expected latents by name, got 1",
        ),
    ],
)
def test_bad_arguments(make, error, words, pair):
    with pytest.raises(error, match=words):
        make(pair)
