import pytest
import torch

from pyro_vae.diagnostics.pareto import khat_threshold, pareto_khat


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


def test_the_threshold_rises_with_the_draws_to_seven_tenths():
    assert khat_threshold(1) == 0 and khat_threshold(100) == pytest.approx(0.5)
    assert khat_threshold(10_000) == khat_threshold(10**6) == 0.7
