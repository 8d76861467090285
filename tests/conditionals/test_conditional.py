"""The one abstraction: shapes, and a distribution that does not have them."""

import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv

swallowed = pv.family(dist.Categorical, "logits")


def test_nothing_is_missing_unless_it_is_said():
    assert not pv.Conditional.takes_missing and not pv.Normal(3).takes_missing
    assert pv.missing(pv.Normal(3)).takes_missing


def test_one_variable_or_several_are_given():
    assert pv.Conditional(2).given_shapes == []
    assert pv.Conditional(2, given=3).given_shapes == [(3,)]
    assert pv.Conditional(2, given=(3, 4)).given_shapes == [(3, 4)]
    assert pv.Conditional(2, given=[3, (4, 5), ()]).given_shapes == [(3,), (4, 5), ()]


MISUSES = {
    "an empty event": (
        lambda: pv.Normal(0),
        ValueError,
        "event_shape: expected a positive .* got 0",
    ),
    "a fractional event": (
        lambda: pv.Normal((2, 0.5)),
        TypeError,
        "event_shape: expected a positive",
    ),
    "a negative given": (
        lambda: pv.Normal(2, given=[3, -1]),
        ValueError,
        "given: expected a positive .* got -1",
    ),
    "the batch swallowed": (
        lambda: swallowed(3, given=4)(torch.zeros(5, 4)),
        ValueError,
        r"batch_shape \(5,\) and event_shape \(3,\), got \(\) and \(5,\)",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
