"""What every docstring example may use: `torch`, `pv`, a small pair `vae`, and data `x` for it."""

import pytest
import torch

import pyro_vae as pv


@pytest.fixture(autouse=True)
def _names_of_examples(doctest_namespace):
    doctest_namespace["torch"] = torch
    doctest_namespace["pv"] = pv
    doctest_namespace["vae"] = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    doctest_namespace["x"] = torch.ones(5, 3)
