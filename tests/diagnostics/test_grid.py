import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import grid_posterior
from pyro_vae.weights import blocks
from tests.oracles import linear_gaussian


def test_a_grid_refuses_more_than_two_dimensions():
    world = linear_gaussian()
    with pytest.raises(ValueError, match="one or two dimensions"):
        grid_posterior(world.pair(), world.sample(3))


@pytest.mark.parametrize("d", [1, 2])
def test_the_grid_is_the_posterior(d):
    world = linear_gaussian(d=d)
    x = world.sample(10)
    grid = grid_posterior(world.pair(0.1, 1.2), x, size=150)
    assert (grid.log_evidence - world.log_evidence(x)).abs().max() < 1e-4
    mean = (x - world.b) @ world.to_mean.T + 0.1
    assert (grid.gap - world.gap(x, mean, 1.44 * world.covariance)).abs().max() < 1e-3


def test_both_densities_add_up_to_one():
    world = linear_gaussian(d=2)
    grid = grid_posterior(world.pair(0.1), world.sample(4), size=100)
    cell = (grid.axes[0][1] - grid.axes[0][0]) ** 2
    assert ((grid.log_posterior.exp().sum(0) * cell) - 1).abs().max() < 1e-9
    assert ((grid.log_variational.exp().sum(0) * cell) - 1).abs().max() < 1e-6
    assert grid.outside.max() < 1e-6


def test_chunks_give_what_one_piece_gives(monkeypatch):
    world = linear_gaussian(d=2)
    x, pair, bounds = world.sample(4), world.pair(0.1), (-4.0, 4.0)
    whole = grid_posterior(pair, x, size=20, bounds=bounds)
    monkeypatch.setattr(blocks, "KEPT", 100)
    parts = grid_posterior(pair, x, size=20, bounds=bounds)
    assert torch.allclose(whole.log_posterior, parts.log_posterior)
    assert torch.allclose(whole.gap, parts.gap)


def test_bounds_that_leave_q_outside_are_told():
    world = linear_gaussian(d=1)
    x = world.sample(4)
    grid = grid_posterior(world.pair(), x, size=50, bounds=(20.0, 25.0))
    assert (grid.outside > 0.99).all()
    assert grid.axes[0][0] == 20 and grid.axes[0][-1] == 25


def test_several_latents_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(x, 1.0))
            pyro.sample("b", dist.Normal(x, 1.0))

    with pytest.raises(ValueError, match=r"this pair has a, b, the first of 1\. Use log_evidence"):
        grid_posterior(pv.Pair(model, guide), torch.zeros(3))


@pytest.mark.parametrize("size, error", [(1, ValueError), (2.5, TypeError)])
def test_the_size_is_a_whole_number_of_at_least_two(size, error):
    world = linear_gaussian(d=1)
    with pytest.raises(error, match="size: expected a whole number of at least 2"):
        grid_posterior(world.pair(), world.sample(2), size=size)
