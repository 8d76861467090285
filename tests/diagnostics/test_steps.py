"""Nats per step are sums of nats over sums of steps, and their errors too."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.estimate import Estimate
from tests.pairs.test_sequence import LENGTHS, linear, sequences, truth

QUIET = {"progress": False}


def test_per_step_of_each_sequence_and_of_all():
    each = Estimate(torch.tensor([-4.0, -9.0, -2.0]), torch.tensor([0.3, 0.4, 1.2]))
    found = pv.diagnostics.per_step(each, torch.tensor([2, 3, 1]))
    assert found.value.tolist() == [-2.0, -3.0, -2.0]
    assert torch.allclose(found.stderr, torch.tensor([0.15, 0.4 / 3, 1.2]))
    assert found.total.value == -2.5 and found.steps == 6
    assert found.total.stderr == pytest.approx(1.3 / 6)
    assert str(found) == repr(found) == "-2.5000 ± 0.2167 nats per step, 6 steps of 3 sequences"


def test_with_the_posterior_it_is_that_of_the_kalman_filter():
    x = sequences()
    exact = truth(x, LENGTHS)
    found = pv.diagnostics.elbo(linear(), x, LENGTHS, num_samples=3, **QUIET)
    steps = pv.diagnostics.per_step(found, LENGTHS)
    torch.testing.assert_close(steps.value, exact / LENGTHS, rtol=1e-5, atol=1e-5)
    assert steps.total.value == pytest.approx((exact.sum() / 14).item(), abs=1e-5)


def test_its_error_is_the_spread_over_repeated_draws():
    pair, x = linear(stretch=1.3), sequences()

    def measure():
        found = pv.diagnostics.log_evidence(pair, x, LENGTHS, num_samples=100, **QUIET)
        return pv.diagnostics.per_step(found, LENGTHS).total

    repeats = [measure() for _ in range(100)]
    spread = torch.tensor([r.value for r in repeats]).std().item()
    stated = torch.tensor([r.stderr for r in repeats]).mean().item()
    assert abs(spread / stated - 1) < 5 / 200**0.5


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        (torch.tensor([1, 0]), ValueError, "lengths: expected 1 or more, got 0 in row 1"),
        (torch.tensor([1.0, 2.0]), TypeError, "lengths: expected whole numbers"),
        (
            torch.tensor([1, 2, 3]),
            ValueError,
            r"expected one for each .*\(2,\), got \(3,\)",
        ),
    ],
)
def test_lengths_that_do_not_fit(lengths, error, words):
    with pytest.raises(error, match=words):
        pv.diagnostics.per_step(Estimate(torch.zeros(2), torch.ones(2)), lengths)
