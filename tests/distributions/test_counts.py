"""Densities of counts: sums over all of them, and draws."""

import itertools

import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from pyro_vae import distributions as ours
from tests.draws import assert_within_errors


def compositions(total, classes):
    return torch.tensor(
        [x for x in itertools.product(range(total + 1), repeat=classes) if sum(x) == total]
    ).double()


@pytest.mark.parametrize("total", [0, 1, 4])
def test_a_multinomial_sums_to_one_over_the_counts_of_any_total(total):
    logits, a = torch.randn(3).double(), torch.rand(3).double() + 0.1
    x = compositions(total, 3)
    for p in (
        ours.Multinomial(logits, torch.tensor(7)),
        ours.DirichletMultinomial(a, torch.tensor(7)),
    ):
        assert p.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-12)
    if total:
        theirs = dist.Multinomial(total, logits=logits), dist.DirichletMultinomial(a, total)
        torch.testing.assert_close(
            ours.Multinomial(logits, torch.tensor(1)).log_prob(x), theirs[0].log_prob(x)
        )
        torch.testing.assert_close(
            ours.DirichletMultinomial(a, torch.tensor(1)).log_prob(x), theirs[1].log_prob(x)
        )


@pytest.mark.parametrize("kind", [ours.Multinomial, ours.DirichletMultinomial])
def test_draws_of_counts_have_the_total_of_their_row(kind):
    total = torch.tensor([0, 3, 20])
    p = kind(torch.tensor([0.5, 1.5, 0.1, 2.0]).expand(3, 4), total)
    x = p.sample((8000,))

    assert (x.sum(-1) == total).all() and p.support.check(x).all()
    assert_within_errors(x, p.mean, floor=1e-6)
    small = x[:, 1, 0]
    rows = compositions(3, 4)
    truth = sum(
        kind(torch.tensor([0.5, 1.5, 0.1, 2.0]), total[1]).log_prob(r.float()).exp()
        for r in rows
        if r[0] == 0
    )
    assert_within_errors((small == 0).float(), truth, floor=1e-6)
    assert p.expand([2, 3]).sample().shape == (2, 3, 4)


def test_too_many_zeros_sum_to_one_at_any_gate():
    j = torch.arange(400.0).double()[:, None]
    gate = torch.tensor([-50.0, -1.0, 0.0, 3.0, 50.0]).double()
    a = torch.tensor(3.0).double()
    for p in (
        ours.ZeroInflatedNegativeBinomial(a, logits=a - 3, gate_logits=gate),
        dist.ZeroInflatedPoisson(a, gate_logits=gate),
        ours.ZeroInflatedGammaPoisson(a.log(), a / 3, gate),
    ):
        torch.testing.assert_close(p.log_prob(j).exp().sum(0), torch.ones(5).double())


COUNTS = torch.tensor([0.0, 1, 2, 10, 100, 1000])
MEANS = torch.tensor([1e-6, 0.01, 1.0, 30.0, 1000.0])


@pytest.mark.parametrize("dispersion", [1e-3, 0.05, 0.0999, 0.1001, 1.0, 30.0, 1e4])
def test_a_gamma_poisson_is_scipys_negative_binomial(dispersion):
    # at a smaller mean scipy's own digits end, because it is given a probability near one
    x, mean = COUNTS.double()[:, None], MEANS.double()[1:]
    r = 1 / dispersion
    p = ours.GammaPoisson(mean.log(), torch.tensor(dispersion, dtype=torch.float64))

    truth = torch.tensor(stats.nbinom.logpmf(x, r, 1 / (1 + dispersion * mean)))
    torch.testing.assert_close(p.log_prob(x), truth, rtol=1e-10, atol=1e-7)
    torch.testing.assert_close(
        p.log_prob(x), dist.NegativeBinomial(r, logits=(mean / r).log()).log_prob(x)
    )


@pytest.mark.parametrize("dispersion", [0.0, 1e-30, 1e-12, 1e-8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_without_dispersion_it_is_a_poisson(dispersion, dtype):
    x, mean = COUNTS.to(dtype)[:, None], MEANS.to(dtype)
    found = ours.GammaPoisson(mean.log(), torch.tensor(dispersion, dtype=dtype)).log_prob(x)

    truth = torch.tensor(stats.poisson.logpmf(x.double(), mean.double()))
    excess = dispersion * (x.double() - mean.double()).square()  # log p differs by half of it
    scale = 1 + truth.abs() + x + mean
    assert ((found - truth).abs() < 1e-6 * scale + excess).all()


def test_a_mean_of_zero_leaves_only_zeros():
    p = ours.GammaPoisson(torch.tensor(-torch.inf), torch.tensor([0.0, 1.0]))
    assert p.log_prob(torch.zeros(2)).tolist() == [0, 0]
    assert (p.log_prob(torch.ones(2)) == -torch.inf).all()
    assert not p.sample((50,)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_of_a_gamma_poisson_are_finite(dtype):
    grid = [torch.tensor([-1e7, -50.0, 0, 10, 1e7]), torch.tensor([0, 1e-6, 0.1, 1, 1e6, 1e12])]
    log_mean, dispersion = (a.to(dtype) for a in torch.meshgrid(*grid, indexing="ij"))
    p = ours.GammaPoisson(log_mean.requires_grad_(), dispersion.requires_grad_())
    p.log_prob(COUNTS.to(dtype)[:, None, None]).sum().backward()

    assert log_mean.grad.isfinite().all() and dispersion.grad.isfinite().all()


def test_the_gradient_by_a_small_dispersion():
    """d log p / dα is ½ ((x - μ)² - x) at α = 0."""
    x, mean = torch.tensor([0.0, 3.0, 20.0]), torch.tensor(4.0)
    a = torch.full((3,), 1e-6, requires_grad=True)
    ours.GammaPoisson(mean.log(), a).log_prob(x).sum().backward()
    torch.testing.assert_close(a.grad, ((x - mean).square() - x) / 2, rtol=0, atol=3.0)


def test_draws_of_a_gamma_poisson_have_its_moments():
    dispersion = torch.tensor([0.0, 0.3, 2.0])
    p = ours.GammaPoisson(torch.tensor(8.0).log(), dispersion)
    x = p.sample((20_000,))

    assert_within_errors(x, p.mean)
    assert_within_errors((x - 8).square(), p.variance)
    assert p.expand((2, 3)).sample().shape == (2, 3)
    gated = ours.ZeroInflatedGammaPoisson(p.log_mean, dispersion, torch.tensor(1.0))
    assert_within_errors(gated.sample((20_000,)), gated.mean)
