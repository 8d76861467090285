"""Schedules: their values, and bad arguments."""

import pytest

import pyro_vae as pv


def test_cyclical_schedule():
    schedule = pv.cyclical(12, cycles=3, rise=0.5, to=2.0)
    assert [schedule(s) for s in range(14)] == [0.0, 1.0, 2.0, 2.0] * 3 + [2.0, 2.0]
    assert pv.cyclical(4, cycles=1, rise=1.0)(3) == pv.linear(4)(3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pv.linear(0), "steps: expected a positive whole number, got 0"),
        (
            lambda: pv.cyclical(3, cycles=4),
            "steps: expected at least as many as cycles=4, got 3",
        ),
        (lambda: pv.cyclical(4, rise=0.0), "rise: expected a part of a cycle"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
