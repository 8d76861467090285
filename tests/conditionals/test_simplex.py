"""Proportions: what is refused."""

import pytest

import pyro_vae as pv

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
