import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.free import (
    Factor,
    Free,
    explain_refusal,
    list_parameters,
    read_parameters,
    unwrap,
)

TRIL = torch.tensor([[1.0, 0.0], [0.5, 2.0]]).double().expand(3, 2, 2)
ONES = torch.ones(3).double()

BASES = [
    dist.Normal(2 * ONES, 0.5 * ONES),
    dist.Laplace(ONES, 2 * ONES),
    dist.Gamma(3 * ONES, 2 * ONES),
    dist.Beta(2 * ONES, 3 * ONES),
    dist.StudentT(5 * ONES, ONES, 2 * ONES),
    dist.Dirichlet(torch.rand(3, 4).double() + 1),
    dist.MultivariateNormal(torch.ones(3, 2).double(), scale_tril=TRIL),
    dist.LowRankMultivariateNormal(
        torch.ones(3, 2).double(), torch.ones(3, 2, 1).double(), torch.ones(3, 2).double()
    ),
]


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_a_factor_starts_as_the_distribution_that_it_is_made_from(base):
    spread = torch.full((3, *base.event_shape), 0.7).double()
    factor = Factor(base, 0, spread)
    again = factor()
    assert type(again) is type(base)
    for name, value in read_parameters(base).items():
        assert torch.allclose(getattr(again, name), value)
    value, log_q = factor.draw(5)
    assert value.shape == (5, 3, *base.event_shape)
    assert torch.allclose(log_q, base.log_prob(value))


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_every_free_number_has_a_gradient(base):
    factor = Factor(base, 0, torch.full((3, *base.event_shape), 0.7).double())
    value, log_q = factor.draw(20)
    tensors = [free.tensor for free in factor.free]
    assert len(tensors) == len(list_parameters(base))
    gradients = torch.autograd.grad(log_q.sum() + value.square().sum(), tensors)
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_a_location_moves_in_units_of_the_spread():
    factor = Factor(dist.Normal(2 * ONES, ONES), 0, 0.1 * ONES)
    factor.free[0].tensor.data += 1.0
    assert torch.allclose(factor().loc, 2.1 * ONES)


def test_other_first_values_may_be_given():
    start = {"scale": 3 * ONES, "unknown": ONES}
    factor = Factor(dist.Normal(2 * ONES, ONES), 0, ONES, start)
    assert torch.allclose(factor().scale, 3 * ONES) and torch.equal(factor().loc, 2 * ONES)


def test_the_dimensions_of_an_event_are_declared_again():
    fn = dist.Normal(torch.zeros(3, 2), 1.0).to_event(1)
    base, reinterpreted = unwrap(fn)
    assert isinstance(base, dist.Normal) and reinterpreted == 1
    assert unwrap(base) == (base, 0)
    assert Factor(base, reinterpreted, torch.ones(3, 2))().batch_shape == (3,)


def test_of_two_ways_to_say_the_same_one_is_free():
    assert list_parameters(BASES[-2]) == ["loc", "scale_tril"]
    assert list_parameters(dist.Normal(0.0, 1.0)) == ["loc", "scale"]


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_nothing_speaks_against_these(base):
    assert explain_refusal(base) is None


@pytest.mark.parametrize(
    "base, reason",
    [
        (dist.Categorical(torch.ones(3)), "is discrete"),
        (unwrap(pv.Mixture(pv.StudentT, 2, components=2)())[0], "has no reparametrised draws"),
        (pv.Flow(2, transforms=1)(), "is not made of parameters alone"),
        (
            dist.Uniform(torch.zeros(3), torch.ones(3)),
            "has parameters whose limits depend on each other",
        ),
    ],
)
def test_why_others_cannot_be_free(base, reason):
    assert reason in explain_refusal(base)


def test_new_numbers_are_kept_for_the_data_that_they_serve():
    old, new = torch.zeros(3, 2), torch.ones(3, 2)
    is_better = torch.tensor([True, False, True])
    of_all = Free(new).select(is_better, old, new)
    assert of_all.tolist() == [[1, 1], [0, 0], [1, 1]]
    assert torch.equal(Free(new, 0).select(is_better, old, new), new)
    assert torch.equal(Free(new, 1).select(is_better, old, new), old)
    assert Free(new, 1).select(is_better, torch.tensor(0.0), torch.tensor(1.0)).item() == 0
