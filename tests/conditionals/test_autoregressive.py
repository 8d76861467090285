"""Families made dimension by dimension."""

import math

import pytest
import torch

import pyro_vae as pv


@pytest.mark.parametrize(
    "family, options", [(pv.Bernoulli, {}), (pv.Categorical, {"classes": 3}), (pv.Normal, {})]
)
def test_each_dimension_depends_on_those_before_it_and_on_nothing_else(family, options):
    p = pv.Autoregressive(family, 4, given=2, **options)(torch.randn(2))
    a = torch.tensor([0.0, 1.0, 0.0, 1.0])

    for d in range(4):
        other = a.clone()
        other[d] = 1 - other[d]
        x = torch.zeros(4)  # the value that is scored stays, what it is conditioned on changes
        apart = p.conditionals(a).log_prob(x) != p.conditionals(other).log_prob(x)
        assert not apart[: d + 1].any() and apart[d + 1 :].all()


def test_an_autoregressive_prior_learns_what_an_independent_one_cannot():
    x = torch.bernoulli(torch.full((500, 1), 0.5)).expand(500, 3)
    p = pv.Autoregressive(pv.Bernoulli, 3)
    optimiser = torch.optim.Adam(p.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        (-p().log_prob(x).mean()).backward()
        optimiser.step()
    assert p().log_prob(x).mean() > -1.2 * math.log(2) > -3 * math.log(2)
    drawn = p().sample((200,))
    assert (drawn == drawn[:, :1]).all(-1).float().mean() > 0.9


@pytest.mark.parametrize("how", ["shared", "free"])
def test_a_parameter_may_be_learned_apart_from_the_network(how):
    p = pv.Autoregressive(pv.Normal, (2, 2), given=3, scale=how)
    q = p(torch.randn(5, 3))
    a = q.sample((7,))

    q.log_prob(a).sum().backward()

    assert a.shape == (7, 5, 2, 2) and p.layout.numbers == 4
    assert (p.layout.scale_raw.grad != 0).all()


@pytest.mark.parametrize("levels", [3, torch.tensor([3, 2])], ids=["equal", "by entry"])
def test_levels_are_classes_to_the_network_and_sum_to_one(levels):
    p = pv.Autoregressive(pv.DiscretisedLogistic, 2, levels=levels)()
    every = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    values = every[p.support.check(every)]

    assert len(values) == (9 if isinstance(levels, int) else 6)
    torch.testing.assert_close(p.log_prob(values).exp().sum(), torch.tensor(1.0))


MISUSES = {
    "vectors, dimension by dimension": (
        lambda: pv.Autoregressive(pv.Dirichlet, 3),
        ValueError,
        "family: expected one whose draw is a single number, Dirichlet draws vectors",
    ),
    "nothing to condition": (
        lambda: pv.Autoregressive(pv.Bernoulli, 3, logits=0.0),
        ValueError,
        "Bernoulli: every parameter is fixed, so no dimension depends on another",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
