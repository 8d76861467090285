"""Families between 0 and 1, beyond their contract."""

import pytest

import pyro_vae as pv

MISUSES = {
    "a scale below zero": (
        lambda: pv.LogitNormal(2, given=3, scale=-1.0),
        ValueError,
        "scale: expected finite",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
