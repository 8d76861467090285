"""Relaxed families: their temperature."""

import pytest
import torch

import pyro_vae as pv


def test_a_temperature_is_a_buffer_that_a_schedule_sets():
    q = pv.RelaxedCategorical(3, given=2, temperature=2.0)
    x = torch.randn(1000, 2)
    assert "layout.fixed_temperature" in dict(q.named_buffers()) and q.temperature == 2
    warm = q(x).sample().max(-1).values.mean()
    q.temperature = 0.05
    assert q.temperature == pytest.approx(0.05) and isinstance(q.temperature, torch.Tensor)
    assert q(x).sample().max(-1).values.mean() > 0.95 > warm + 0.1
    assert repr(q) == "RelaxedCategorical((3,) | (2,), temperature=0.05)"


MISUSES = {
    "a temperature of zero": (
        lambda: pv.RelaxedCategorical(3, temperature=0.0),
        ValueError,
        "temperature: expected a positive number, got 0.0",
    ),
    "a schedule to a negative temperature": (
        lambda: setattr(pv.RelaxedBernoulli(3, temperature=1.0), "temperature", -1.0),
        ValueError,
        "temperature: expected a positive number, got -1.0",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
