"""The terms of the weights, against the densities and closed forms."""

import pyro
import pyro.distributions as dist
import torch

import pyro_vae as pv
from pyro_vae.weights.traces import quietly
from pyro_vae.weights.weights import weigh
from tests.oracles import linear_gaussian


def test_terms_are_the_densities_of_the_pair():
    world = linear_gaussian()
    pair, x, z = world.pair(0.2, 1.3), world.sample(4), torch.randn(5, 4, 3).double()
    with quietly(pair):
        found = weigh(pair, (x,), 5, {"z": z})
        likelihood = pair.likelihood(z).log_prob(x)
        assert torch.equal(found.log_likelihood, likelihood)
        assert torch.allclose(found.log_prior, pair.prior().log_prob(z))
        assert torch.allclose(found.log_variational, pair.variational(x).log_prob(z))


def test_terms_of_a_pair_without_latents_lie_where_its_data_lie():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample(
                "x", dist.Normal(torch.zeros((), device="meta"), 1.0, validate_args=False), obs=x
            )

    found = weigh(pv.Pair(model, lambda x: None), (torch.zeros(5, device="meta"),), 3)
    assert [term.device.type for term in found[:3]] == ["meta"] * 3
