"""Families made of a class in one line."""

import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv


@pytest.mark.parametrize("given", [None, 4])
@pytest.mark.parametrize(
    "cls, event, shapes",
    [
        (dist.Dirichlet, (2, 3), {"concentration": lambda event: event}),
        (dist.OneHotCategorical, (2, 3), {"logits": lambda event: event}),
        (dist.Dirichlet, (3,), {"concentration": lambda event: event}),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_the_event_dimensions_of_the_class_itself_count(cls, event, shapes, given):
    conditional = pv.family(cls, **shapes)(event, given=given)
    p = conditional(*[torch.randn(7, 4)] if given else [])

    assert (p.batch_shape, p.event_shape) == ((7,) if given else (), event)
    assert pv.family(cls, *shapes)(event)().event_shape == event


# Misuse

MISUSES = {
    "all fixed, yet given": (
        lambda: pv.Normal(2, given=3, loc=0.0, scale=1.0),
        ValueError,
        "every parameter is fixed, so nothing depends on given=3",
    ),
    "a family of unknown parameters": (
        lambda: pv.family(dist.Normal, "loc", "sigma"),
        ValueError,
        "Normal has no parameter sigma; it has loc, scale",
    ),
    "a family of dependent bounds": (
        lambda: pv.family(dist.Uniform, "low", "high"),
        TypeError,
        "cls: expected a class of pyro.distributions, .* its other parameters, got Uniform",
    ),
    "a family of torch's own": (
        lambda: pv.family(torch.distributions.Gumbel, "loc", "scale"),
        TypeError,
        "cls: expected a class of pyro.distributions, or one with to_event.* got Gumbel",
    ),
    "a family of whole parameters": (
        lambda: pv.family(dist.Binomial, "total_count", "logits"),
        ValueError,
        "no network can compute total_count",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
