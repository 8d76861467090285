"""Draws that are run together against the same draws one by one."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.weights.comparison import compare_draws
from tests.oracles import two_in_a_chain

X = torch.tensor([[0.0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0]])


def make_pair(decode, encode=lambda x: x):
    """A pair by hand: z and x have three numbers each."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(encode(x), 0.7).to_event(1))

    return pv.Pair(model, guide)


@pytest.mark.parametrize(
    "pair",
    [
        pv.VAE(
            prior=pv.StandardNormal(2),
            likelihood=pv.Bernoulli(3, given=2),
            variational=pv.Normal(2, given=3),
        ),
        make_pair(lambda z: z.softmax(-1)),
    ],
    ids=["ours", "by hand"],
)
def test_of_a_good_pair_it_says_nothing(pair):
    assert compare_draws(pair, (X,)) == []


@pytest.mark.parametrize(
    "decode",
    [lambda z: 5 * z.softmax(0), lambda z: z - z.mean(0), lambda z: z.flip(0)],
    ids=["normalises", "centres", "reverses"],
)
def test_what_goes_over_the_wrong_axis_is_found(decode):
    (found,) = compare_draws(make_pair(decode), (X,))
    assert found.startswith("site 'x' of the model is scored otherwise when several draws are")
    assert "dim=-1" in found


def test_a_guide_that_mixes_draws_is_found():
    def guide(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(x, 1.0))
            pyro.sample("b", dist.Normal(a.cumsum(0), 1.0))

    (found,) = compare_draws(pv.Pair(two_in_a_chain, guide), (X[:, 0],))
    assert "site 'b' of the guide" in found


def test_a_network_of_one_leading_dimension_fails_with_the_cure():
    def decode(z):
        n, d = z.shape
        return z.reshape(n, d)

    (found,) = compare_draws(make_pair(decode), (X,))
    assert "under a plate of 3 draws the pair fails, ValueError: too many values" in found
    assert "fold the leading dimensions, as pyro_vae.networks.Network does" in found


def test_dropout_is_no_difference():
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5))
    pair = make_pair(net)
    pair.net = net
    assert compare_draws(pair, (X,)) == []


@pytest.mark.parametrize("decode", [lambda z: z, lambda z: z.softmax(0)], ids=["good", "bad"])
def test_the_random_state_is_left_alone(decode):
    before = torch.get_rng_state()
    compare_draws(make_pair(decode), (X,))
    assert torch.equal(torch.get_rng_state(), before)
