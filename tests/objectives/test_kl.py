"""KL(q ‖ p) in closed form, and where there is none."""

from functools import partial

import pytest
import torch

import pyro_vae as pv
from pyro_vae.objectives.kl import find_kl
from pyro_vae.objectives.run import Run
from pyro_vae.pairs.parameters import OwnParameters
from tests.objectives.worlds import agrees


@pytest.mark.parametrize("latent", [pv.MultivariateNormal, partial(pv.LowRankNormal, rank=1)])
def test_closed_form_of_dependent_normals(latent):
    pair = pv.VAE(
        prior=pv.Normal(2), likelihood=pv.Bernoulli(5, given=2), variational=latent(2, given=5)
    )
    x = torch.rand(4, 5).round()
    with OwnParameters():
        kl = find_kl(Run(pair.model, pair.guide, (x,), {}, 3))["z"]
        run = Run(pair.model, pair.guide, (x,), {}, 20_000)
    ratio = (
        run.weights.log_variational - run.weights.log_joint + run.weights.log_likelihood
    ).detach()

    assert torch.equal(kl[0], kl[2])
    assert agrees(ratio, kl[0].detach())
