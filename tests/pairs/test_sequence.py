"""A linear state-space model: a Kalman filter gives log p(x), and smoothing the posterior."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.conditionals import Conditional
from pyro_vae.weights.intake import admit
from tests.oracles import affine, near, within

QUIET = {"progress": False}
A, Q, C, R, START = 0.8, 0.7, 1.3, 0.5, 0.4
LENGTHS = torch.tensor([4, 1, 3, 2, 4])


def filter_kalman(x: Tensor) -> tuple[float, float, float]:
    """log p(x) of one sequence `[T]`, and the mean and variance of z_T given it.

    z_t = A z_{t-1} + Q ε, x_t = C z_t + R ε, z_0 = START.
    """
    mean, variance, log_p = START, 0.0, 0.0
    for value in x.tolist():
        mean, variance = A * mean, A**2 * variance + Q**2
        seen = C**2 * variance + R**2
        error = value - C * mean
        log_p += -0.5 * (math.log(2 * math.pi * seen) + error**2 / seen)
        gain = variance * C / seen
        mean, variance = mean + gain * error, (1 - gain * C) * variance
    return log_p, mean, variance


def truth(x: Tensor, lengths: Tensor) -> Tensor:
    each = [filter_kalman(x[i, : int(n), 0])[0] for i, n in enumerate(lengths)]
    return torch.tensor(each, dtype=torch.float64)


class Information(nn.Module):
    """What x_t, ..., x_T say of z_t: a precision and a shift, by the recursion from the end."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        steps = []
        precision = shift = torch.zeros_like(x[:, 0, 0])
        for t in reversed(range(x.shape[1])):
            # through the transition, from z_{t+1} to z_t
            damp = 1 + Q**2 * precision
            precision, shift = A**2 * precision / damp, A * shift / damp
            is_within = t < lengths
            precision = torch.where(is_within, precision + C**2 / R**2, 0.0)
            shift = torch.where(is_within, shift + C * x[:, t, 0] / R**2, 0.0)
            steps.append(torch.stack([precision, shift], -1))
        return torch.stack(steps[::-1], 1)


class Smoothing(Conditional):
    """q(z_t | z_{t-1}, h_t): the posterior, stretched."""

    def __init__(self, stretch: float):
        super().__init__(1, given=[1, 2])
        self.stretch = stretch

    def forward(self, z: Tensor, h: Tensor):
        precision = 1 / Q**2 + h[..., :1]
        loc = (A * z / Q**2 + h[..., 1:]) / precision
        return dist.Normal(loc, self.stretch * precision**-0.5).to_event(1)


def linear(stretch=1.0) -> pv.SequenceVAE:
    one = torch.ones(1, 1, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    pair = pv.SequenceVAE(
        transition=pv.Normal(1, given=1, net=affine(A * one, zero), scale=Q),
        emission=pv.Normal(1, given=1, net=affine(C * one, zero), scale=R),
        variational=Smoothing(stretch),
        encoder=Information(),
    ).double()
    nn.init.constant_(pair.start, START)
    nn.init.constant_(pair.variational_start, START)
    return pair


def sequences(padding=0.0):
    x = pv.simulate(linear(), torch.zeros(5, 4, 1).double(), LENGTHS)["x"]
    within_length = torch.arange(4) < LENGTHS.unsqueeze(-1)
    return torch.where(within_length.unsqueeze(-1), x, padding)


def test_with_the_posterior_every_weight_is_that_of_the_kalman_filter():
    x = sequences()
    log_w = pv.diagnostics.log_weights(linear(), x, LENGTHS, num_samples=3)
    torch.testing.assert_close(log_w, truth(x, LENGTHS).expand(3, 5), rtol=1e-5, atol=1e-5)


def test_what_lies_beyond_the_end_does_not_count():
    torch.manual_seed(1)
    first = sequences()
    torch.manual_seed(1)
    second = sequences(padding=7.0)
    assert not torch.equal(first, second)
    found = [
        pv.diagnostics.log_weights(linear(), x, LENGTHS, num_samples=2) for x in (first, second)
    ]
    torch.testing.assert_close(*found)


def test_more_padding_changes_nothing():
    x = sequences()
    longer = torch.cat([x, torch.zeros(5, 2, 1).double()], 1)
    log_w = pv.diagnostics.log_weights(linear(), longer, LENGTHS, num_samples=3)
    torch.testing.assert_close(log_w, truth(x, LENGTHS).expand(3, 5), rtol=1e-5, atol=1e-5)


def test_evidence_and_annealing_beside_it():
    x, pair = sequences(), linear(stretch=1.3)
    exact = truth(x, LENGTHS)
    sampled = pv.diagnostics.log_evidence(pair, x, LENGTHS, num_samples=5000, **QUIET)
    annealed = pv.diagnostics.annealed_log_evidence(
        pair, x, LENGTHS, num_steps=10, num_chains=40, num_leapfrog=4, **QUIET
    )
    assert within(sampled.value, exact, sampled.stderr)
    assert near(annealed, exact)
    gap = LENGTHS * (1.3**2 - 1 - math.log(1.3**2)) / 2
    assert near(pv.diagnostics.posterior_gap(pair, x, LENGTHS, num_samples=5000, **QUIET), gap)


def test_draws_have_the_moments_of_the_chain():
    lengths = torch.full((20_000,), 3)
    x = pv.simulate(linear(), torch.zeros(20_000, 3, 1).double(), lengths)["x"][..., 0]
    mean, variance = START, 0.0
    for t in range(3):
        mean, variance = A * mean, A**2 * variance + Q**2
        seen = C**2 * variance + R**2
        assert abs(x[:, t].mean().item() - C * mean) < 5 * (seen / 20_000) ** 0.5
        assert abs(x[:, t].var().item() - seen) < 5 * seen * (2 / 20_000) ** 0.5


def test_the_reset_state_is_standard_normal_beyond_the_end():
    lengths = torch.ones(20_000, dtype=torch.long)
    z = pv.simulate(linear(), torch.zeros(20_000, 2, 1).double(), lengths)["z"][:, 1, 0]
    assert abs(z.mean().item()) < 5 / 20_000**0.5
    assert abs(z.var().item() - 1) < 5 * (2 / 20_000) ** 0.5


@pytest.mark.parametrize(
    ("transition", "variational"),
    [
        (pv.Normal(2, given=2, net=pv.networks.gated), pv.Normal(2, given=[2, 4])),
        (pv.StudentT(2, given=2), pv.MultivariateNormal(2, given=[2, 4])),
        (pv.Flow(2, given=2, transforms=1), pv.Laplace(2, given=[2, 4])),
        (pv.Normal(2, given=2), pv.Flow(2, given=[2, 4], flow=pv.IAF, transforms=1)),
    ],
)
def test_any_conditional_over_the_reals_is_a_transition_or_a_variational(transition, variational):
    pair = pv.SequenceVAE(
        transition=transition,
        emission=pv.Normal(1, given=2, scale=1.0),
        variational=variational,
        encoder=pv.networks.Backward(1, 4),
    )
    x = torch.randn(5, 4, 1)
    history = pv.fit(pair, x, LENGTHS, epochs=1, **QUIET)
    found = pv.diagnostics.forecast(pair, x, LENGTHS, steps=2, num_samples=30, **QUIET)
    assert torch.tensor(history.elbo).isfinite().all() and found.value.isfinite().all()


def test_sequences_of_given_lengths_are_simulated():
    pair = linear()
    drawn = pv.simulate(pair, 3, given=torch.tensor([2, 5, 1]))
    assert drawn["x"].shape == drawn["z"].shape == (3, 5, 1)
    assert pv.simulate(pair, 4, given=7)["x"].shape == (4, 7, 1)
    assert pv.simulate(pair, 2, torch.tensor([3, 3]))["x"].dtype == torch.float64

    torch.manual_seed(1)
    first = pv.simulate(pair, 3, given=torch.tensor([2, 5, 1]), mean=True)
    torch.manual_seed(1)
    second = pv.simulate(pair, torch.zeros(3, 5, 1).double(), torch.tensor([2, 5, 1]), mean=True)
    assert torch.equal(first["x"], second["x"]) and torch.allclose(first["x"], C * first["z"])


@pytest.mark.parametrize(
    ("count", "given", "error", "words"),
    [
        (3, torch.tensor([2, 5]), ValueError, "given: expected a length for each of the 3 draws"),
        (2, torch.tensor([0, 5]), ValueError, "lengths: expected 1 or more, got 0 in row 0"),
        (2, torch.tensor(-1), ValueError, "lengths: expected 1 or more, got -1"),
        (2, 2.5, TypeError, "lengths: expected whole numbers"),
        (2, torch.ones(2), TypeError, "lengths: expected whole numbers"),
        (2, torch.ones(2, 1).long(), TypeError, r"lengths: expected whole numbers \[n\]"),
        (2, None, ValueError, "given: expected the lengths of the sequences to be drawn"),
        (0, 3, ValueError, "data: expected a positive whole number"),
    ],
)
def test_lengths_that_cannot_be_simulated(count, given, error, words):
    with pytest.raises(error, match=words):
        pv.simulate(linear(), count, given=given)


X = torch.zeros(2, 4, 1).double()


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ((X, torch.tensor([0, 3])), ValueError, "lengths: expected 1 to 4.* got 0 in row 0"),
        ((X, torch.tensor([4, 5])), ValueError, "lengths: expected 1 to 4.* got 5 in row 1"),
        ((X, torch.tensor([2, -1])), ValueError, "lengths: .*got -1 in row 1"),
        ((X, torch.tensor([2.0, 3.0])), TypeError, "lengths: expected whole numbers"),
        ((X, torch.tensor([True, True])), TypeError, "lengths: expected whole numbers"),
        ((X, torch.ones(2, 1).long()), TypeError, r"lengths: expected whole numbers \[n\]"),
        ((X, torch.tensor([2])), ValueError, "expected as many rows as x, 2, got 1"),
        ((X,), TypeError, "expected x and the lengths of its rows, got 1"),
        ((X, torch.tensor([1, 1]), X), TypeError, "lengths of its rows, got 3"),
        ((X[:, :0], torch.tensor([1, 1])), ValueError, "x: expected at least one step"),
        ((X[:, 0, 0], torch.tensor([1, 1])), ValueError, "x: expected sequences"),
        ((X * torch.nan, torch.tensor([1, 1])), ValueError, "NaN"),
    ],
)
def test_bad_sequences_are_refused_before_training(data, error, words):
    pair = linear()
    with pytest.raises(error, match=words):
        pv.fit(pair, *data, epochs=1, **QUIET)
    with pytest.raises(error, match=words):
        admit(pair, data)
    with pytest.raises(error, match=words):
        pv.diagnostics.elbo(pair, *data, **QUIET)
    with pytest.raises(error, match=words):
        pv.check(pair, *data)
    if not data[0].isnan().any():  # the values of a template do not count
        with pytest.raises(error, match=words):
            pv.simulate(pair, *data)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"transition": pv.Normal(3, given=2)}, "shape of z_t"),
        ({"emission": pv.Bernoulli(4, given=3)}, "shape of z_t: .*emission"),
        ({"variational": pv.Normal(3, given=[3, 5])}, "shape of z_t: .*variational"),
        ({"variational": pv.Normal(2, given=[3, 5])}, r"shape of z_t: .*variational \(given\)"),
        ({"variational": pv.Gamma(2, given=[2, 5])}, "supports of z_t differ"),
        ({"transition": pv.Gamma(2, given=2)}, "supports of z_t differ|over the reals"),
        ({"variational": pv.Normal(2, given=2)}, "variational: .* h_t"),
    ],
)
def test_parts_that_do_not_fit(changed, words):
    parts = {
        "transition": pv.Normal(2, given=2),
        "emission": pv.Bernoulli(4, given=2),
        "variational": pv.Normal(2, given=[2, 5]),
        "encoder": pv.networks.Backward(4, 5),
    }
    with pytest.raises(ValueError, match=words):
        pv.SequenceVAE(**(parts | changed))


def test_the_posterior_is_calibrated():
    """Each sequence has its own length, and the steps beyond it are calibrated too."""
    lengths = LENGTHS.repeat(40)
    pair, x = linear(), torch.zeros(200, 4, 1).double()
    assert pv.diagnostics.calibrate(pair, x, lengths, num_draws=50, **QUIET).passed
    narrow = linear(stretch=0.4)
    assert not pv.diagnostics.calibrate(narrow, x, lengths, num_draws=50, **QUIET).passed
