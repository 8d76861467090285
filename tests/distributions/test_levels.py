"""Densities of levels: sums, draws, extreme parameters."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vae import distributions as ours
from tests.draws import assert_within_errors


def pmf(p, levels):
    j = torch.arange(levels, dtype=torch.get_default_dtype())
    return (
        p.log_prob(j.reshape(-1, *[1] * len(p.batch_shape)).expand(-1, *p.batch_shape))
        .double()
        .exp()
    )


LOC = torch.tensor([-1e7, -3.0, -1.0, -0.3, 0.0, 0.77, 1.0, 3.0, 1e7])

SCALE = torch.tensor([[1e-6], [1e-3], [0.05], [1.0], [1e3], [1e6]])


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str)
def test_the_discretised_logistic_sums_to_one(levels, dtype, atol):
    p = ours.DiscretisedLogistic(LOC.to(dtype), SCALE.to(dtype), torch.tensor(levels))
    total = pmf(p, levels).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=atol)


def test_the_discretised_logistic_is_the_difference_of_two_sigmoids():
    loc, scale = torch.tensor(0.2).double(), torch.tensor(0.3).double()
    edges = (torch.arange(1, 17).double() - 0.5) / 8 - 1
    cdf = torch.cat([torch.zeros(1), torch.sigmoid((edges - loc) / scale), torch.ones(1)]).double()
    p = ours.DiscretisedLogistic(loc, scale, torch.tensor(17))

    torch.testing.assert_close(pmf(p, 17), cdf.diff())
    torch.testing.assert_close(p.mean, (pmf(p, 17) * torch.arange(17)).sum())


def test_the_discretised_logistic_is_drawn_from_its_density():
    p = ours.DiscretisedLogistic(
        torch.tensor([-1.2, 0.0, 0.4]), torch.tensor([0.5, 0.02, 0.2]), torch.tensor(9)
    )
    x = p.sample((20_000,))
    assert p.support.check(x).all()
    assert_within_errors(torch.nn.functional.one_hot(x.long(), 9), pmf(p, 9).T, floor=1e-6)


def test_levels_may_differ_from_entry_to_entry():
    levels = torch.tensor([2, 5, 256])
    p = ours.DiscretisedLogistic(torch.zeros(3), torch.ones(3), levels)
    one = [ours.DiscretisedLogistic(torch.zeros(()), torch.ones(()), n) for n in levels]
    x = p.sample((50,))

    torch.testing.assert_close(
        p.log_prob(x), torch.stack([q.log_prob(a) for q, a in zip(one, x.unbind(1))], 1)
    )
    torch.testing.assert_close(p.mean, torch.stack([q.mean for q in one]))
    assert not p.support.check(x + levels).any() and x.max(0).values.tolist()[0] == 1
    assert p.expand([4, 3]).log_prob(x[:4]).shape == (4, 3)


def test_the_mixture_of_discretised_logistics_is_the_sum_of_its_components():
    logits, loc, scale = torch.randn(4, 3), torch.randn(4, 3), torch.rand(4, 3)
    p = ours.DiscretisedLogisticMixture(logits, loc, scale, torch.tensor(6))
    parts = pmf(ours.DiscretisedLogistic(loc, scale, torch.tensor(6)), 6)

    torch.testing.assert_close(
        pmf(p, 6), (logits.softmax(-1) * parts).sum(-1), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(pmf(p, 6).sum(0), torch.ones(4).double(), rtol=0, atol=1e-5)
    assert p.support.check(p.sample((100,))).all() and not p.support.check(torch.tensor(6.0)).any()
    assert p.expand([2, 4]).sample().shape == (2, 4)


@pytest.mark.parametrize("classes", [2, 3, 17])
def test_ordinal_classes_sum_to_one_by_their_cumulative_logits(classes):
    gaps = torch.rand(classes - 2).double() + 0.1
    c = torch.cat([torch.zeros(1), gaps.cumsum(0)]) - gaps.sum() / 2
    loc = torch.tensor([-2.0, 0.0, 1.3]).double()
    p = ours.Ordinal(loc, gaps.expand(3, -1))

    torch.testing.assert_close(pmf(p, classes).sum(0), torch.ones(3).double())
    torch.testing.assert_close(pmf(p, classes).cumsum(0)[:-1], torch.sigmoid(c[:, None] - loc))
    torch.testing.assert_close(
        pmf(p, classes), pmf(dist.OrderedLogistic(loc, c.expand(3, -1)), classes)
    )
    torch.testing.assert_close(p.mean, (pmf(p, classes).T @ torch.arange(classes).double()))
    x = p.expand([5, 3]).sample((4000,)).flatten(0, 1)
    assert_within_errors(torch.nn.functional.one_hot(x, classes), pmf(p, classes).T, floor=1e-6)


@pytest.mark.parametrize("gap", [1e-6, 1.0, 1e6])
def test_ordinal_classes_are_finite_at_any_threshold(gap):
    loc = torch.tensor([-1e7, -10.0, 0.0, 10.0, 1e7], requires_grad=True)
    gaps = torch.full((5, 3), gap, requires_grad=True)
    p = ours.Ordinal(loc, gaps)
    log_p = p.log_prob(torch.arange(5)[:, None].expand(5, 5))

    assert log_p.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(log_p.sum(), [loc, gaps]))
    torch.testing.assert_close(log_p.exp().sum(0), torch.ones(5), rtol=0, atol=1e-4)
