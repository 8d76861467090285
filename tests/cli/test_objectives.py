import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.objectives import OBJECTIVES, build_objective
from tests.commands import CONFIG, arrange, build


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_scores_a_pair_that_admits_it(name):
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    loss = pv.Objective(vae, OBJECTIVES[name](3, 100))(torch.randn(5, 3))
    loss.backward()
    assert loss.isfinite() and all(
        p.grad is not None and p.grad.isfinite().all() for p in vae.parameters()
    )


@pytest.fixture
def pair():
    return build(CONFIG, arrange(CONFIG, torch.randn(20, 3)))


def test_the_objective_has_a_weight_only_where_it_is_not_1(pair):
    assert isinstance(build_objective(CONFIG, pair, 20), pv.Objective)
    assert isinstance(build_objective(CONFIG | {"beta": 2.0}, pair, 20), pv.KLWeight)


def test_an_objective_speaks_of_draws(pair):
    config = CONFIG | {"objective": "vimco", "draws": 1}
    with pytest.raises(ValueError, match=r"^draws: leaving one draw out"):
        build_objective(config, pair, 20)
