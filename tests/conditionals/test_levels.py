"""Levels and ordered classes: what is refused."""

import pytest

import pyro_vae as pv

MISUSES = {
    "one level": (
        lambda: pv.DiscretisedLogistic(2, given=3, levels=1),
        ValueError,
        r"levels: expected finite values within IntegerInterval\(lower_bound=2, .*got 1",
    ),
    "half a level": (
        lambda: pv.DiscretisedLogistic(2, given=3, levels=2.5),
        ValueError,
        r"levels: .*got 2\.5",
    ),
    "no levels": (lambda: pv.DiscretisedLogistic(2, given=3), TypeError, "levels"),
    "no components": (
        lambda: pv.DiscretisedLogisticMixture(2, given=3, levels=4),
        TypeError,
        "needs components=, a positive whole number",
    ),
    "one class": (
        lambda: pv.Ordinal(2, given=3, classes=1),
        ValueError,
        "classes: expected at least 2 .*got 1",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
