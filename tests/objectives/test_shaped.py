"""Objectives that shape the KL term: against their terms on the same draws."""

import itertools

import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.objectives.run import Run
from tests.objectives.worlds import flat_gradient, hierarchical, loss_of, seeded, small


def test_free_bits_by_dimension():
    pair, x = small(prior=pv.Normal(2)), torch.rand(50, 5).round()
    q, p = pair.variational(x).base_dist, pair.prior().base_dist
    kl = torch.distributions.kl_divergence(q, p).mean(0)
    level = kl.mean().item()
    assert kl.min() < level < kl.max()
    free, plain = (
        seeded(lambda b=b: loss_of(b, pair, x)) for b in (pv.FreeBits(level), pv.AnalyticKL())
    )

    assert free.item() == pytest.approx((plain + 50 * (level - kl.min())).item(), rel=1e-5)
    none = seeded(lambda: loss_of(pv.FreeBits(0.0), pair, x))
    assert none.item() == pytest.approx(plain.item(), rel=1e-6)
    assert (
        flat_gradient(loss_of(pv.FreeBits(1e3), pair, x), list(pair.prior.parameters())).abs().max()
        == 0
    )


def test_free_bits_without_a_closed_form():
    pair = pv.VAE(
        prior=pv.StudentT(2), likelihood=pv.Bernoulli(5, given=2), variational=pv.Normal(2, given=5)
    )
    x = torch.rand(50, 5).round()
    free, plain = (
        seeded(lambda b=b: loss_of(b, pair, x)) for b in (pv.FreeBits(0.0), pv.AnalyticKL())
    )
    assert free >= plain - 1e-3
    with pytest.raises(
        ValueError, match=r"latent 'z': a MultivariateNormal is not independent.*per='site'"
    ):
        loss_of(pv.FreeBits(0.1), small(pv.MultivariateNormal), x)


def test_capacity_follows_its_schedule_and_a_checkpoint():
    pair, x = small(), torch.rand(7, 5).round()
    bound = pv.Capacity(2.0, pv.linear(4, to=2.0))
    objective = pv.Objective(pair, bound)
    seen = []
    for _ in range(6):
        objective(x)
        seen.append(bound.nats.item())
    assert seen == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]

    objective.eval()
    objective(x)
    bound.loss(pair.model, pair.guide, x)
    assert int(bound.steps) == 6
    again = pv.Objective(small(), pv.Capacity(2.0, pv.linear(4, to=2.0)))
    again.load_state_dict(objective.state_dict())
    assert (int(again.elbo.steps), again.elbo.nats.item()) == (6, 2.0)


def test_total_correlation_at_one_is_the_elbo():
    pair, x = small(), torch.rand(7, 5).round()
    plain = seeded(lambda: loss_of(pv.EvidenceLowerBound(), pair, x))
    for estimator in ("weighted", "stratified"):
        ours = seeded(lambda e=estimator: loss_of(pv.TotalCorrelation(1.0, 100, e), pair, x))
        assert ours.item() == pytest.approx(plain.item(), rel=1e-6)


def test_total_correlation_as_in_the_paper():
    pair, x, beta, total = small(), torch.rand(6, 5).round(), 5.0, 40
    q = pair.variational(x).base_dist
    run = seeded(lambda: Run(pair.model, pair.guide, (x,), {}, 1))
    z = run.guide["z"]["value"]
    expected = (
        run.weights.log_likelihood[0] + run.weights.log_joint[0] - run.weights.log_likelihood[0]
    )
    for i in range(6):
        each = torch.stack([dist.Normal(q.loc[j], q.scale[j]).log_prob(z[i]) for j in range(6)])
        log_q_z = (each.sum(1).exp().sum() / (6 * total)).log()
        log_product = (each.exp().sum(0) / (6 * total)).log().sum()
        information = each[i].sum() - log_q_z
        expected[i] = expected[i] - information - beta * (log_q_z - log_product) - log_product
    ours = seeded(lambda: loss_of(pv.TotalCorrelation(beta, total), pair, x))
    assert ours.item() == pytest.approx(-expected.sum().item(), rel=1e-5)


def test_stratified_weights_are_unbiased_for_the_aggregate():
    """Over all batches that hold datum 0 first, the estimate averages to the mean over the data."""
    total, n = 6, 4
    density = torch.rand(total, dtype=torch.float64)
    w = (
        pv.TotalCorrelation(1.0, total, "stratified")
        ._find_log_weights(torch.zeros(n, n, 1, dtype=torch.float64))
        .exp()
    )
    batches = [(0, *rest) for rest in itertools.permutations(range(1, total), n - 1)]
    estimate = torch.stack([(w[0] * density[list(batch)]).sum() for batch in batches]).mean()

    assert torch.allclose(w.sum(1), torch.ones(n, dtype=torch.float64))
    assert torch.allclose(estimate, density.mean())


def test_mmd_without_weight_is_what_alpha_leaves():
    pair, x = small(), torch.rand(7, 5).round()
    plain = seeded(lambda: loss_of(pv.AnalyticKL(), pair, x))
    assert seeded(lambda: loss_of(pv.MMD(0.0, alpha=0.0), pair, x)).item() == pytest.approx(
        plain.item(), rel=1e-6
    )
    linear_kernel = seeded(lambda: loss_of(pv.MMD(3.0, lambda a, b: a @ b.T), pair, x))
    run = seeded(lambda: Run(pair.model, pair.guide, (x,), {}, 1))
    distance = (run.guide["z"]["value"].mean(0) - run.draw_from_prior()["z"].mean(0)).square().sum()
    assert linear_kernel.item() == pytest.approx(
        (7 * 3 * distance - run.weights.log_likelihood.sum()).item(), rel=1e-5
    )


ROWS = torch.ones(4, 5)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: pv.FreeBits(-1.0),
            ValueError,
            "nats: expected a finite number of at least 0, got -1",
        ),
        (
            lambda: pv.FreeBits(1.0, per="group"),
            ValueError,
            "per: expected 'dimension' or 'site', got 'group'",
        ),
        (lambda: pv.Capacity(-1.0, 2.0), ValueError, "gamma: expected.*at least 0, got -1"),
        (lambda: pv.Capacity(1.0, -2.0), ValueError, "capacity: expected.*at least 0, got -2"),
        (lambda: pv.TotalCorrelation(-1.0, 10), ValueError, "beta: expected.*at least 0, got -1"),
        (
            lambda: pv.TotalCorrelation(1.0, 10, "mean"),
            ValueError,
            "estimator: expected 'weighted' or 'stratified'",
        ),
        (
            lambda: loss_of(pv.TotalCorrelation(1.0, 3), small(), ROWS),
            ValueError,
            "num_data.*at least the 4 rows",
        ),
        (
            lambda: loss_of(pv.TotalCorrelation(1.0, 9, "stratified"), small(), ROWS[:1]),
            ValueError,
            "stratified.*at least 2 rows, got 1.*batch_size",
        ),
        (
            lambda: loss_of(pv.TotalCorrelation(1.0, 9), hierarchical(True), ROWS[:, 0]),
            ValueError,
            "one latent, got a, b",
        ),
        (lambda: pv.MMD(-1.0), ValueError, "weight: expected.*at least 0, got -1"),
        (lambda: pv.MMD(1.0, alpha=2.0), ValueError, "alpha: expected.*within"),
        (lambda: pv.MMD(1.0, "rbf"), TypeError, "kernel: expected a function of two tensors"),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()
