"""Proportions: what is refused, and a Dirichlet that is approximated by a normal."""

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.conditionals.simplex import approximate_dirichlet

MISUSES = {
    "a simplex of a number": (
        lambda: pv.Dirichlet(()),
        ValueError,
        r"Dirichlet: event_shape \(\) has too few",
    ),
    "a simplex of one": (
        lambda: pv.LogisticNormal(1),
        ValueError,
        r"LogisticNormal: .* at least 2, got \(1,\)",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()


def draw_centred_logs(alpha):
    theta = torch.distributions.Dirichlet(alpha.double()).sample((40_000,))
    log_theta = theta.log()
    return log_theta - log_theta.mean(-1, keepdim=True)


@pytest.mark.parametrize("alpha", [torch.tensor([200.0, 80.0, 300.0]), torch.full((5,), 90.0)])
def test_a_large_dirichlet_is_approximated_in_its_moments(alpha):
    logs = draw_centred_logs(alpha)
    p = approximate_dirichlet(len(alpha), alpha)()
    loc, variance = p.mean.double(), p.variance.double()
    # digamma(α) = log α - 1 / 2α + ..., and trigamma(α) = 1 / α + 1 / 2α² + ...
    error = logs.std(0) / len(logs) ** 0.5
    assert ((logs.mean(0) - loc).abs() < 5 * error + 1 / (2 * alpha.min())).all()
    error = variance * (2 / len(logs)) ** 0.5
    assert ((logs.var(0) - variance).abs() < 5 * error + variance / alpha.min()).all()


def test_the_approximation_by_its_formula():
    alpha = torch.tensor([0.5, 1.0, 4.0])
    p = approximate_dirichlet(3, alpha)()
    logs, total = [math.log(a) for a in (0.5, 1.0, 4.0)], 1 / 0.5 + 1 / 1.0 + 1 / 4.0
    for k, a in enumerate((0.5, 1.0, 4.0)):
        assert p.mean[k].item() == pytest.approx(logs[k] - sum(logs) / 3, abs=1e-6)
        assert p.variance[k].item() == pytest.approx((1 - 2 / 3) / a + total / 9)


@pytest.mark.parametrize("alpha", [0.02, 1.0, 7.0])
def test_one_concentration_for_all_is_each_of_them(alpha):
    one = approximate_dirichlet(50, alpha)()
    each = approximate_dirichlet(50, torch.full((50,), alpha))()
    assert torch.allclose(one.mean, each.mean, atol=1e-6)
    assert torch.allclose(one.variance, each.variance)
    assert not one.mean.any()


@pytest.mark.parametrize(
    ("size", "concentration", "error", "words"),
    [
        (1, 1.0, ValueError, "size: expected a whole number of at least 2, got 1"),
        (2.0, 1.0, TypeError, "size: expected a whole number"),
        (3, 0.0, ValueError, "concentration: expected a positive number, got 0.0"),
        (3, "shared", TypeError, "concentration: expected a positive number"),
        (3, torch.ones(2), ValueError, "concentration: expected a positive number or 3 of them"),
        (3, torch.tensor([1.0, 0.0, 1.0]), ValueError, "a positive number or 3 of them"),
    ],
)
def test_what_is_no_dirichlet_is_refused(size, concentration, error, words):
    with pytest.raises(error, match=words):
        approximate_dirichlet(size, concentration)
