"""A pair for the tests of objectives."""

import pytest

import pyro_vae as pv


@pytest.fixture(params=["StandardNormal", "Laplace"])
def pair(request):
    prior = {"StandardNormal": pv.StandardNormal, "Laplace": pv.Laplace}[request.param](2)
    return pv.VAE(prior=prior, likelihood=pv.Normal(3, given=2), variational=pv.Normal(2, given=3))
