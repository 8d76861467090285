"""Mixtures of a family."""

import pytest
import torch

import pyro_vae as pv


def test_free_components_start_apart():
    p = pv.Mixture(pv.Normal, 2, components=10)()

    assert torch.pdist(p.component_distribution.mean).min() > 0
    assert p.mixture_distribution.probs.unique().numel() == 1


@pytest.mark.parametrize("given", [None, 4])
@pytest.mark.parametrize("family", [pv.Normal, pv.Bernoulli, pv.Gamma, pv.Poisson, pv.Beta])
def test_a_mixture_is_the_weighted_sum_of_its_components(family, given):
    mixture = pv.Mixture(family, (2, 3), given, components=4)
    b = [torch.randn(5, 4)] if given else []
    p, x = mixture(*b), mixture(*b).sample((6,))

    terms = mixture.components(*b).base_dist.log_prob(x.unsqueeze(-3)).sum((-1, -2))
    truth = torch.logsumexp(terms + mixture.weights(*b).logits, -1)

    torch.testing.assert_close(p.log_prob(x), truth)
    assert str(p.support) == str(family((2, 3))().support)


def test_a_mixture_is_reparametrised_where_it_can_be():
    kinds = {
        pv.Normal: True,
        pv.Laplace: True,
        pv.MultivariateNormal: True,
        pv.StudentT: False,
        pv.Bernoulli: False,
    }
    for family, can in kinds.items():
        assert pv.Mixture(family, 2, given=3, components=4)(torch.zeros(5, 3)).has_rsample is can
    assert pv.Mixture(pv.LowRankNormal, 2, components=4, rank=1)().has_rsample


MISUSES = {
    "a mixture of none": (
        lambda: pv.Mixture(pv.Normal, 2, components=0),
        ValueError,
        "components: expected a positive whole number, got 0",
    ),
    "a mixture of vectors for a number": (
        lambda: pv.Mixture(pv.MultivariateNormal, (), components=2),
        ValueError,
        r"MultivariateNormal: event_shape \(\) has too few dimensions",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
