import math

import pytest
import torch

from pyro_vae.diagnostics.evidence import estimate_evidence
from pyro_vae.diagnostics.pareto import khat_threshold, pareto_khat, widen_error


@pytest.mark.parametrize("k", [-0.2, 0.3, 0.6, 1.0])
def test_khat_finds_the_shape_of_pareto_weights(k):
    u = torch.rand(20_000, 30, dtype=torch.float64)
    weights = (u**-k - 1) / k + 1e-3 if k else -u.log()
    found = pareto_khat(weights.log())
    assert abs(found.mean() - k) < 5 * found.std() / 30**0.5 + 0.05


def test_khat_without_a_tail():
    assert pareto_khat(torch.zeros(100, 2)).tolist() == [0, 0]
    assert pareto_khat(torch.randn(10, 2)).isnan().all()


def test_khat_of_gaussians_follows_their_ratio():
    z = 0.5 * torch.randn(100_000, 20, dtype=torch.float64)
    log_w = torch.distributions.Normal(0.0, 1.0).log_prob(z) - torch.distributions.Normal(
        0.0, 0.5
    ).log_prob(z)
    assert abs(pareto_khat(log_w).mean() - 0.75) < 0.1


@pytest.mark.parametrize("scale", [15.0, 50.0, 300.0, 3000.0])
def test_the_worst_weights_have_the_largest_khat(scale):
    """Of 50 it once said 0.47, below the threshold: early models of images looked trusted."""
    found = pareto_khat(scale * torch.randn(1000, 20, dtype=torch.float64))
    assert (found > scale / 5).all() or found.isinf().any()


def test_ties_at_the_cut_are_no_tail():
    """Weights of a discrete latent take few values. It once said 13 of them."""
    rare = torch.bernoulli(torch.full((1000, 20), 0.05, dtype=torch.float64))
    assert (pareto_khat(2 * rare) < 0.5).all()
    often = torch.bernoulli(torch.full((1000, 20), 0.3, dtype=torch.float64))
    assert (pareto_khat(2 * often) == 0).all()


def test_a_few_weights_above_all_others_are_no_sample_of_a_tail():
    log_weight = torch.zeros(1000, 1)
    log_weight[0] = 20.0
    assert pareto_khat(log_weight).isinf().all()


def test_khat_agrees_with_arviz():
    arviz = pytest.importorskip("arviz")
    vectors = [scale * torch.randn(1000, 5).double() for scale in (0.01, 0.3, 1, 3, 15, 50, 300)]
    vectors += [torch.rand(2000, 5).double().pow(-k).log() for k in (0.1, 0.5, 0.7, 1.0)]
    vectors += [torch.distributions.Poisson(3.0).sample((1000, 5)).double()]
    for log_weight in vectors:
        theirs = [float(arviz.psislw(column.numpy().copy())[1]) for column in log_weight.T]
        found = pareto_khat(log_weight)
        assert torch.allclose(found, torch.tensor(theirs, dtype=found.dtype), atol=1e-6)


def test_the_threshold_rises_with_the_draws_to_seven_tenths():
    assert khat_threshold(1) == 0 and khat_threshold(100) == pytest.approx(0.5)
    assert khat_threshold(10_000) == khat_threshold(10**6) == 0.7


def test_light_weights_keep_their_error():
    stderr, khat = torch.tensor([0.1, 0.1, 0.0]), torch.tensor([0.4, torch.nan, 0.5])
    assert widen_error(stderr, khat).equal(stderr)


@pytest.mark.parametrize("k", [0.0, 0.4, 0.5, 0.6, 0.7])
def test_two_errors_cover_the_truth_where_weights_are_heavy(k):
    """At k = 0.7 two errors of the delta method cover it in 75 % of repetitions."""
    u = torch.rand(1000, 1000, dtype=torch.float64)
    weights = (u**-k - 1) / k if k else -u.log()
    found = estimate_evidence(weights.log())
    is_covered = (found.value + math.log(1 - k)).abs() <= 2 * found.stderr
    assert is_covered.double().mean() > 0.93
