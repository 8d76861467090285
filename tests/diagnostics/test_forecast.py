"""Forecasts of the linear state-space model, beside the predictions of the Kalman filter."""

import pytest
import torch
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.diagnostics import forecast
from tests.oracles import linear_gaussian, within
from tests.pairs.test_sequence import LENGTHS, A, C, Q, R, filter_kalman, linear, sequences

QUIET = {"progress": False}
STEPS = 3


def predict_kalman(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and variance of the steps that follow each sequence, `[n, STEPS]`."""
    means, variances = [], []
    for row, length in zip(x[..., 0], lengths.tolist(), strict=True):
        _, mean, variance = filter_kalman(row[:length])
        for _ in range(STEPS):
            mean, variance = A * mean, A**2 * variance + Q**2
            means.append(C * mean)
            variances.append(C**2 * variance + R**2)
    shape = (len(x), STEPS)
    return (torch.tensor(values).double().reshape(shape) for values in (means, variances))


@pytest.mark.parametrize("stretch", [1.0, 1.4])
def test_means_and_variances_are_those_of_the_kalman_filter(stretch):
    x = sequences(padding=9.0)
    mean, variance = predict_kalman(x, LENGTHS)
    found = forecast(
        linear(stretch), x, LENGTHS, steps=STEPS, num_samples=20_000, draws=20_000, **QUIET
    )
    assert found.value.shape == (5, STEPS, 1) and found.draws.shape == (20_000, 5, STEPS, 1)
    assert within(found.value[..., 0], mean, found.stderr[..., 0])
    assert found.stderr.max() < 0.03

    # the draws are as many, of as many z as there are effective samples
    count = 1 / (1 / 20_000 + 1 / found.ess[:, None])
    futures = found.draws[..., 0]
    assert within(futures.mean(0), mean, (variance / count).sqrt())
    assert within(futures.var(0), variance, variance * (2 / count).sqrt())
    assert not found.warnings()


def test_the_stated_error_is_that_of_the_estimate():
    x = sequences()[:1].expand(200, -1, -1)
    lengths = torch.full((200,), 4)
    mean, _ = predict_kalman(x[:1], lengths[:1])
    found = forecast(linear(1.4), x, lengths, steps=STEPS, num_samples=500, **QUIET)
    z = (found.value[..., 0] - mean) / found.stderr[..., 0]
    # 200 independent forecasts of the same steps
    assert ((z.square().mean(0) - 1).abs() < 5 * (2 / 200) ** 0.5).all()


def test_steps_after_each_other_depend_on_each_other():
    x = sequences()[:1]
    found = forecast(linear(), x, LENGTHS[:1], steps=2, num_samples=2000, draws=20_000, **QUIET)
    _, _, variance = filter_kalman(x[0, :4, 0])
    first = A**2 * variance + Q**2
    covariance = found.draws[:, 0, :, 0].T.cov()[0, 1].item()
    sizes = (C**2 * first + R**2) * (C**2 * (A**2 * first + Q**2) + R**2)
    assert abs(covariance - C**2 * A * first) < 5 * (2 * sizes / 2000) ** 0.5


def test_with_the_posterior_all_draws_count():
    found = forecast(linear(), sequences(), LENGTHS, steps=1, num_samples=30, **QUIET)
    assert torch.allclose(found.ess, torch.tensor(30.0).double()) and found.draws.shape[0] == 0
    assert str(found).startswith("1 steps after each of 5 sequences, effective samples 30.0")


class Cheating(nn.Module):
    """An encoder that looks at all of x, beyond the lengths."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        ones = torch.ones_like(x)
        return torch.cat([ones, x.sum(1, keepdim=True) * ones], -1)


@pytest.mark.parametrize("encoder", [None, Cheating()])
def test_the_future_is_not_looked_at(encoder):
    pair = linear()
    pair.encoder = encoder or pair.encoder

    def run(padding):
        torch.manual_seed(1)
        x = torch.where(torch.arange(6)[:, None] < 2, 0.3, padding).expand(4, 6, 1).double()
        lengths = torch.tensor([2, 2, 1, 2])
        return forecast(pair, x, lengths, steps=2, num_samples=20, draws=2, **QUIET)

    first, second = run(5.0), run(-7.0)
    assert torch.equal(first.value, second.value) and torch.equal(first.draws, second.draws)


def test_few_effective_samples_are_warned_of():
    found = forecast(linear(0.2), sequences(), LENGTHS, steps=1, num_samples=100, **QUIET)
    assert any("fewer than 10 effective samples" in said for said in found.warnings())
    assert any("k̂ above 0.50" in said for said in found.warnings())
    assert "warning: fewer than 10" in str(found)


@pytest.mark.parametrize(
    ("emission", "event"),
    [
        (pv.Bernoulli((1, 4, 4), given=2), (1, 4, 4)),
        (pv.Categorical(3, given=2, classes=5), (3,)),
        (pv.Poisson(3, given=2), (3,)),
    ],
)
def test_events_of_any_family_and_blocks_of_any_size(emission, event, monkeypatch):
    pair = pv.SequenceVAE(
        transition=pv.Normal(2, given=2),
        emission=emission,
        variational=pv.Normal(2, given=[2, 6]),
        encoder=pv.networks.Backward(int(torch.tensor(event).prod()), 6),
    )
    x = pv.simulate(pair, 5, given=LENGTHS)["x"]
    # so small that each block has one sequence
    monkeypatch.setattr("pyro_vae.weights.blocks.KEPT", 10)
    found = forecast(pair, x, LENGTHS, steps=2, num_samples=50, draws=3, **QUIET)
    assert found.value.shape == (5, 2, *event) and found.value.isfinite().all()
    assert found.draws.shape == (3, 5, 2, *event) and emission.support.check(found.draws).all()
    assert found.ess.shape == found.khat.shape == (5,)


X = torch.zeros(2, 4, 1).double()


@pytest.mark.parametrize(
    ("lengths", "options", "error", "words"),
    [
        ([0, 3], {}, ValueError, "lengths: expected 1 to 4.* got 0 in row 0"),
        ([4, 5], {}, ValueError, "lengths: expected 1 to 4.* got 5 in row 1"),
        ([2.0, 3.0], {}, TypeError, "lengths: expected whole numbers"),
        ([2, 3], {"steps": 0}, ValueError, "steps: expected a positive whole number"),
        ([2, 3], {"steps": 1.5}, TypeError, "steps: expected a positive whole number"),
        ([2, 3], {"num_samples": 0}, ValueError, "num_samples: expected a positive"),
        ([2, 3], {"draws": -1}, ValueError, "draws: expected a whole number of at least 0"),
    ],
)
def test_what_cannot_be_forecast(lengths, options, error, words):
    with pytest.raises(error, match=words):
        forecast(linear(), X, torch.tensor(lengths), **({"steps": 1} | options))


def test_only_a_pair_with_a_transition_is_run_on():
    with pytest.raises(TypeError, match="pair: expected a SequenceVAE, got VAE"):
        forecast(linear_gaussian().pair(), X, torch.tensor([1, 1]), steps=1)
