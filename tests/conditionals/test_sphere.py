"""Directions: the KL to the uniform sphere, and what is refused."""

import pytest
import torch
from torch.distributions import kl_divergence

import pyro_vae as pv


def test_the_kl_to_the_uniform_sphere_is_the_difference_of_the_densities(k=5):
    for family in (pv.PowerSpherical, pv.VonMisesFisher):
        q, p = family((2, 3), given=4)(torch.randn(5, 4)), pv.UniformSphere((2, 3))()
        z = q.sample((20_000,))
        drawn = q.log_prob(z) - p.log_prob(z)
        error = drawn.std(0) / len(drawn) ** 0.5
        assert ((drawn.mean(0) - kl_divergence(q, p.expand([5]))).abs() < k * error).all()


MISUSES = {
    "no sphere": (
        lambda: pv.PowerSpherical(1),
        ValueError,
        r"PowerSpherical: .* at least 2, got \(1,\)",
    ),
    "no von Mises-Fisher": (
        lambda: pv.VonMisesFisher(1, given=3),
        ValueError,
        "VonMisesFisher: .* at least 2",
    ),
    "no uniform sphere": (
        lambda: pv.UniformSphere(()),
        ValueError,
        r"UniformSphere: .* at least 2, got \(\)",
    ),
    "a sphere of no dimension": (
        lambda: pv.PowerSpherical(()),
        ValueError,
        r"\(\) has too few dimensions",
    ),
    "a negative concentration": (
        lambda: pv.VonMisesFisher(3, given=2, concentration=-1.0),
        ValueError,
        "concentration: expected finite values within .* got -1",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
