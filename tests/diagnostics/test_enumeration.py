import pyro
import pyro.distributions as dist
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.enumeration import enumerate_latent, expect
from pyro_vae.weights import blocks
from tests.oracles import discrete_world, normal_pair, sequential_pair


def test_the_weights_are_those_of_the_tables():
    world = discrete_world()
    x = torch.tensor([0, 3, 3, 4])
    values, weights = enumerate_latent(world.pair(), (x,))
    assert values.tolist() == [[0.0], [1.0], [2.0]]
    assert torch.allclose(weights.log_variational.exp(), world.q_z_given_x[x].T)
    assert torch.allclose(weights.log_prior.exp(), world.p_z[:, None].expand(3, 4))
    assert torch.allclose(weights.log_likelihood.exp(), world.p_x_given_z[:, x])


def test_blocks_give_the_whole(monkeypatch):
    world = discrete_world()
    x = torch.tensor([0, 3, 3, 4, 1, 2])
    _, whole = enumerate_latent(world.pair(), (x,))
    monkeypatch.setattr(blocks, "KEPT", 18)
    _, found = enumerate_latent(world.pair(), (x,))
    assert all(map(torch.equal, found[:3], whole[:3]))
    assert found.log_sum is whole.log_sum is None, "each value is weighed by itself"


def test_too_many_values_are_not_summed_over(monkeypatch):
    monkeypatch.setattr(blocks, "KEPT", 17)
    assert enumerate_latent(discrete_world().pair(), (torch.zeros(6).long(),)) is None


def test_latents_that_are_not_one_discrete_one_are_not():
    assert enumerate_latent(normal_pair(torch.eye(2), 0.5), (torch.zeros(3, 2).double(),)) is None
    assert enumerate_latent(sequential_pair(), (torch.zeros(3),)) is None


def test_a_discrete_latent_of_two_numbers():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.OneHotCategorical(torch.ones(2)))
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.OneHotCategorical(torch.ones(2)))

    values, weights = enumerate_latent(pv.Pair(model, guide), (torch.zeros(3),))
    assert values.shape == (2, 2) and weights.log_prior.shape == (2, 3)


def test_nothing_times_infinity_is_nothing():
    q = torch.tensor([[1.0, 0.5], [0.0, 0.5]])
    assert expect(q, torch.tensor([[2.0, 4.0], [torch.inf, 0.0]])) == 2
