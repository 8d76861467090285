"""KL(q ‖ p) in closed form, and where there is none."""

from functools import partial

import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.objectives.kl import find_kl, find_kl_by_dimension, split_dimensions
from pyro_vae.objectives.run import Run
from pyro_vae.pairs.parameters import OwnParameters
from tests.objectives.worlds import agrees, hierarchical, small


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


def test_the_kl_of_all_dimensions_is_that_of_the_latent():
    pair, x = small(prior=pv.Normal(2)), torch.rand(4, 5).round()
    run = Run(pair.model, pair.guide, (x,), {}, 3)
    each = find_kl_by_dimension(run)["z"]
    assert each.shape == (3, 4, 2)
    torch.testing.assert_close(each.sum(-1), find_kl(run)["z"])


def test_there_is_no_closed_form_where_the_guide_draws_in_another_order():
    x = torch.randn(4, dtype=torch.float64)
    for upwards in (True, False):
        pair = hierarchical(upwards)
        run = Run(pair.model, pair.guide, (x,), {}, 3)
        kl = sum(find_kl(run).values())
        at_draws = run.weights.log_variational - run.weights.log_prior
        assert torch.allclose(kl, at_draws) is upwards


def test_dimensions_that_depend_on_each_other_are_not_split():
    fn = dist.MultivariateNormal(torch.zeros(2), torch.eye(2))
    with pytest.raises(ValueError, match="latent 'z': a MultivariateNormal is not independent"):
        split_dimensions("z", fn)
    base = split_dimensions("z", dist.Normal(torch.zeros(3, 2), 1.0).to_event(2))
    assert (base.batch_shape, base.event_shape) == ((3, 2), ())
