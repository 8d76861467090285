"""Data outside the support of what observes them: how many, and what to do."""

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

import pyro_vae as pv
from pyro_vae.distributions import Missing
from pyro_vae.weights.support_checks import (
    check_kind,
    has_bounds_per_row,
    is_within,
    refuse_outside,
)


def check(fn, x):
    few = x[:2]
    site = {"fn": fn, "infer": {"obs": few}, "mask": None}
    check_kind("x", site)
    ends = None if x.isnan().any() else torch.stack([x.amin(0), x.amax(0)])
    expected = is_within(site, (few,), (x,), (None,))
    assert is_within(site, (few,), (x,), (ends,)) == expected
    refuse_outside("x", site, (few,), [(x,)])
    assert expected


def independent(make, *parameters, size=3):
    values = [torch.full((2, size), p) for p in parameters]
    return make(*values).to_event(1)


BERNOULLI = independent(dist.Bernoulli, 0.5)
POISSON = independent(dist.Poisson, 2.0)


@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (BERNOULLI, 1.0),
        (POISSON, 7.0),
        (independent(dist.Normal, 0.0, 1.0), -3.0),
        (independent(dist.Gamma, 1.0, 1.0), 0.1),
        (independent(dist.Beta, 1.0, 1.0), 0.4),
    ],
)
def test_data_within_the_support_pass(fn, value):
    check(fn, torch.full((6, 3), value))


@pytest.mark.parametrize(
    ("fn", "value", "words"),
    [
        (BERNOULLI, 0.5, r"16\.7 % of its values are strictly between 0 and 1\. Binarise it"),
        (BERNOULLI, 9.0, r"16\.7 % .* they run from 0 to 9\. Scale it to \[0, 1\] and binarise"),
        (POISSON, 0.5, "Round it to counts, or use a continuous family"),
        (independent(dist.Beta, 1.0, 1.0), 4.0, r"Scale it, \(x - 0\) / 4, or use pv\.Normal"),
        (independent(dist.Gamma, 1.0, 1.0), -4.0, "Shift or transform it to be positive"),
        (
            dist.Categorical(torch.full((2, 3, 4), 0.25)).to_event(1),
            6.0,
            "ask for classes=7, if they are classes; for total_count=6, if they are counts",
        ),
    ],
)
def test_the_share_outside_is_said_and_a_cure(fn, value, words):
    x = torch.zeros(6, 3) if fn.support.event_dim and value != -4.0 else torch.ones(6, 3)
    x[5] = value
    with pytest.raises(ValueError, match=f"x lies outside the support of .*: .*{words}"):
        check(fn, x)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((6, 1, 3), r"got \[1, 3\]\. Reshape it: x\.reshape\(-1, 3\)\."),
        ((6, 4), r"got \[4\]\.$"),
    ],
)
def test_another_event_shape_is_refused(shape, words):
    with pytest.raises(ValueError, match=rf"x: expected \[n, \*event\].*\(3,\), {words}"):
        check(BERNOULLI, torch.zeros(shape))


def test_a_column_of_scalars_is_taken_out():
    with pytest.raises(ValueError, match=r"Use x\[:, 0\]\."):
        check(dist.Normal(torch.zeros(2), 1.0), torch.zeros(6, 1))


def test_integers_are_no_values_of_a_continuous_family():
    with pytest.raises(TypeError, match=r"x is made of integers \(torch\.int64\).*x\.float\(\)"):
        check(independent(dist.Normal, 0.0, 1.0), torch.zeros(6, 3, dtype=torch.long))
    check(POISSON, torch.ones(6, 3, dtype=torch.long))


def test_missing_values_are_not_outside():
    x = torch.ones(6, 3)
    x[3, 1] = torch.nan
    check(Missing(independent(dist.Gamma, 1.0, 1.0)), x)
    x[4, 0] = -1.0
    with pytest.raises(ValueError, match=r"support of Gamma: 5\.88 % of its values"):
        check(Missing(independent(dist.Gamma, 1.0, 1.0)), x)


def test_bounds_that_are_tensors_may_differ_from_row_to_row():
    per_row = constraints.interval(torch.zeros(4), torch.ones(4))
    assert has_bounds_per_row(per_row)
    assert has_bounds_per_row(constraints.independent(per_row, 1))
    assert has_bounds_per_row(constraints.cat([constraints.real, per_row]))
    assert not has_bounds_per_row(constraints.unit_interval)
    assert not has_bounds_per_row(constraints.independent(constraints.interval(0.0, 2.0), 1))
    assert not has_bounds_per_row(pv.Bernoulli(3)().support)
