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
from pyro_vae.diagnostics.normal_fit import Normals

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


def test_symmetric_draws_are_mirrored_at_the_location():
    factor = Factor(BASES[0], 0, ONES)
    value, log_q = factor.draw(5, mirrored=True)
    assert torch.allclose(value[:2] + value[3:], torch.tensor(4.0).double())
    assert torch.allclose(log_q, BASES[0].log_prob(value)) and len(value) == 5
    skew = dist.Gumbel(ONES, 2 * ONES)
    for factor in (Factor(skew, 0, ONES), Factor(BASES[2], 0, ONES)):
        value, _ = factor.draw(4, mirrored=True)
        assert not torch.allclose(value[0] + value[2], value[1] + value[3])


def test_a_covariance_is_counted_in_its_own_factor():
    """A step of the free numbers is as large for a narrow normal as for a wide one."""
    steps = []
    for tril in (TRIL, 1e-3 * TRIL):
        base = dist.MultivariateNormal(torch.zeros(3, 2).double(), scale_tril=tril)
        factor = Factor(base, 0, torch.ones(3, 2).double())
        factor.parameters["scale_tril"].raw.data += 0.1
        steps.append(torch.linalg.solve_triangular(tril, factor().scale_tril, upper=False))
    assert torch.allclose(*steps)
    assert steps[0][0].flatten().tolist() == pytest.approx([1.1052, 0, 0.1, 1.1052], abs=1e-4)


@pytest.mark.parametrize("base", [BASES[0], BASES[-1], BASES[-2]])
def test_it_starts_at_normals_where_it_is_asked_to(base):
    assert Factor(base, 0, torch.ones(3, *base.event_shape).double()).is_normal_like()
    d = base.event_shape.numel()
    normals = Normals(torch.full((3, d), 7.0).double(), torch.eye(d).double().expand(3, d, d) / 9)
    where = torch.tensor([True, False, True])
    factor = Factor(base, 0, torch.ones(3, *base.event_shape).double())
    new = factor.start_at(normals, where)().loc.reshape(3, d)
    assert (new[where] == 7).all() and torch.equal(new[1], base.loc.reshape(3, d)[1])
    scale = factor.start_at(normals, where)().stddev.reshape(3, d)
    assert torch.equal(scale[1], base.stddev.reshape(3, d)[1])
    # the factors of few dimensions stay, in the new units
    assert (scale[0] < 0.2).all()


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
