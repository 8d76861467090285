"""Densities of levels, counts, unit intervals and angles: sums and integrals, draws, moments, extreme parameters."""

import itertools
import math

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import transforms

from pyro_vae import distributions as ours
from pyro_vae.distributions.missing import log_cells


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def assert_within_errors(draws, truth, k=5):
    draws = draws.double()
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - truth).abs() <= k * error + 1e-6).all(), (
        draws.mean(0) - truth
    ) / error


def pmf(p, levels):
    j = torch.arange(levels, dtype=torch.get_default_dtype())
    return (
        p.log_prob(j.reshape(-1, *[1] * len(p.batch_shape)).expand(-1, *p.batch_shape))
        .double()
        .exp()
    )


def compositions(total, classes):
    return torch.tensor(
        [x for x in itertools.product(range(total + 1), repeat=classes) if sum(x) == total]
    ).double()


# Levels

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
    assert_within_errors(torch.nn.functional.one_hot(x.long(), 9), pmf(p, 9).T)


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
    assert_within_errors(torch.nn.functional.one_hot(x, classes), pmf(p, classes).T)


@pytest.mark.parametrize("gap", [1e-6, 1.0, 1e6])
def test_ordinal_classes_are_finite_at_any_threshold(gap):
    loc = torch.tensor([-1e7, -10.0, 0.0, 10.0, 1e7], requires_grad=True)
    gaps = torch.full((5, 3), gap, requires_grad=True)
    p = ours.Ordinal(loc, gaps)
    log_p = p.log_prob(torch.arange(5)[:, None].expand(5, 5))

    assert log_p.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(log_p.sum(), [loc, gaps]))
    torch.testing.assert_close(log_p.exp().sum(0), torch.ones(5), rtol=0, atol=1e-4)


# Counts


@pytest.mark.parametrize("total", [0, 1, 4])
def test_a_multinomial_sums_to_one_over_the_counts_of_any_total(total):
    logits, a = torch.randn(3).double(), torch.rand(3).double() + 0.1
    x = compositions(total, 3)
    for p in (
        ours.Multinomial(logits, torch.tensor(7)),
        ours.DirichletMultinomial(a, torch.tensor(7)),
    ):
        assert p.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-12)
    if total:
        theirs = dist.Multinomial(total, logits=logits), dist.DirichletMultinomial(a, total)
        torch.testing.assert_close(
            ours.Multinomial(logits, torch.tensor(1)).log_prob(x), theirs[0].log_prob(x)
        )
        torch.testing.assert_close(
            ours.DirichletMultinomial(a, torch.tensor(1)).log_prob(x), theirs[1].log_prob(x)
        )


@pytest.mark.parametrize("kind", [ours.Multinomial, ours.DirichletMultinomial])
def test_draws_of_counts_have_the_total_of_their_row(kind):
    total = torch.tensor([0, 3, 20])
    p = kind(torch.tensor([0.5, 1.5, 0.1, 2.0]).expand(3, 4), total)
    x = p.sample((8000,))

    assert (x.sum(-1) == total).all() and p.support.check(x).all()
    assert_within_errors(x, p.mean)
    small = x[:, 1, 0]
    rows = compositions(3, 4)
    truth = sum(
        kind(torch.tensor([0.5, 1.5, 0.1, 2.0]), total[1]).log_prob(r.float()).exp()
        for r in rows
        if r[0] == 0
    )
    assert_within_errors((small == 0).float(), truth)
    assert p.expand([2, 3]).sample().shape == (2, 3, 4)


def test_too_many_zeros_sum_to_one_at_any_gate():
    j = torch.arange(400.0).double()[:, None]
    gate = torch.tensor([-50.0, -1.0, 0.0, 3.0, 50.0]).double()
    a = torch.tensor(3.0).double()
    for p in (
        ours.ZeroInflatedNegativeBinomial(a, logits=a - 3, gate_logits=gate),
        dist.ZeroInflatedPoisson(a, gate_logits=gate),
    ):
        torch.testing.assert_close(p.log_prob(j).exp().sum(0), torch.ones(5).double())


# Between bounds


def test_the_logit_normal_integrates_to_one():
    x = torch.linspace(0, 1, 200_001).double()[:, None]
    p = ours.LogitNormal(
        torch.tensor([-2.0, 0.0, 1.0]).double(), torch.tensor([0.5, 3.0, 0.05]).double()
    )

    torch.testing.assert_close(
        torch.trapezoid(p.log_prob(x).exp(), x, dim=0), torch.ones(3).double(), atol=1e-3, rtol=0
    )
    theirs = dist.TransformedDistribution(
        dist.Normal(p.loc, p.scale), transforms.SigmoidTransform()
    )
    torch.testing.assert_close(p.log_prob(x[1:-1]), theirs.log_prob(x[1:-1]))
    assert (p.log_prob(torch.tensor([[0.0], [1.0]]).double()) == -math.inf).all()
    assert_within_errors(p.expand([2, 3]).sample((8000,))[:, 0].logit(), p.loc)


@pytest.mark.parametrize("concentration", [1e-6, 0.1, 1.0, 30.0, 1e3])
def test_the_von_mises_integrates_to_one(concentration):
    x = torch.linspace(-math.pi, math.pi, 400_001).double()
    p = ours.VonMises(torch.tensor(2.5).double(), torch.tensor(concentration).double())
    assert torch.trapezoid(p.log_prob(x).exp(), x).item() == pytest.approx(1, abs=1e-6)
    assert_within_errors(
        torch.cos(p.sample((8000,)) - 2.5),
        torch.trapezoid(p.log_prob(x).exp() * (x - 2.5).cos(), x),
    )
    assert p.support.check(p.sample((100,))).all() and not p.support.check(torch.tensor(3.2))


def test_the_von_mises_keeps_its_digits():
    x, loc, kappa = torch.tensor(0.101), torch.tensor(0.1), torch.tensor(1e6)
    normal = dist.Normal(loc.double(), 1e-3).log_prob(x.double())
    assert ours.VonMises(loc, kappa).log_prob(x).item() == pytest.approx(normal.item(), abs=1e-3)
    assert abs(dist.VonMises(loc, kappa).log_prob(x).item() - normal.item()) > 1e-2, (
        "torch's would do"
    )
    torch.testing.assert_close(
        ours.VonMises(loc, kappa / 1e6).log_prob(x), dist.VonMises(loc, kappa / 1e6).log_prob(x)
    )


# Products and missing cells


def normal(*shape):
    return dist.Normal(torch.randn(*shape), torch.rand(*shape) + 0.5)


def test_a_product_is_the_sum_of_its_parts():
    parts = {
        "a": normal(5, 2).to_event(1),
        "b": dist.Categorical(logits=torch.randn(5, 1, 3)).to_event(1),
    }
    p = ours.Product(parts)
    x = p.sample((7,))

    assert (p.batch_shape, p.event_shape, x.shape) == ((5,), (3,), (7, 5, 3))
    torch.testing.assert_close(
        p.log_prob(x), parts["a"].log_prob(x[..., :2]) + parts["b"].log_prob(x[..., 2:])
    )
    assert p.support.check(x).all() and p.support.event_dim == 1
    assert (
        not p.support.check(x + torch.tensor([0.0, 0.0, 0.5])).any()
        and p.support.check(x + torch.tensor([0.5, 0, 0])).all()
    )
    assert not p.has_rsample and ours.Product({"a": parts["a"]}).has_rsample
    assert p.expand([2, 5]).log_prob(x[:2]).shape == (2, 5)


def complete(kind):
    return {
        "normal": lambda: normal(4, 2, 3).to_event(2),
        "scalar": lambda: normal(4),
        "gamma": lambda: dist.Gamma(torch.rand(4, 3) + 0.2, torch.ones(4, 3)).to_event(1),
        "beta": lambda: dist.Beta(torch.rand(4, 3) + 0.2, torch.ones(4, 3)).to_event(1),
        "categorical": lambda: dist.Categorical(logits=torch.randn(4, 3, 5)).to_event(1),
        "mixture": lambda: ours.Mixture(
            dist.Categorical(logits=torch.randn(4, 2)), normal(4, 2, 3).to_event(1)
        ),
        "product": lambda: ours.Product(
            {
                "g": dist.Gamma(torch.rand(4, 2) + 0.2, torch.ones(4, 2)).to_event(1),
                "n": normal(4, 1).to_event(1),
            }
        ),
    }[kind]()


KINDS = ["normal", "scalar", "gamma", "beta", "categorical", "mixture", "product"]


@pytest.mark.parametrize("kind", KINDS)
def test_missing_cells_are_integrated_out(kind):
    p = complete(kind)
    q, x = ours.Missing(p), p.sample((6,))
    x = x.float()

    torch.testing.assert_close(q.log_prob(x), p.log_prob(x))
    torch.testing.assert_close(q.log_prob(x * torch.nan), torch.zeros(6, 4), rtol=0, atol=1e-6)
    assert q.support.check(x).all() and q.support.check(x * torch.nan).all()
    assert q.support.event_dim == len(p.event_shape) and not q.sample().isnan().any()
    if len(p.event_shape) == 1:
        alone = torch.full_like(x, torch.nan)
        alone[..., 1] = x[..., 1]
        torch.testing.assert_close(q.log_prob(alone), log_cells(p, x)[..., 1])
        assert q.given_observed(alone).log_prob(x).shape == (6, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_cells_have_no_gradient_and_observed_ones_the_right_one(kind):
    p = complete(kind)
    x = p.sample().float()
    holes = torch.rand_like(x) < 0.5
    (leaf,) = {
        "normal": lambda: [p.base_dist.loc],
        "scalar": lambda: [p.loc],
        "gamma": lambda: [p.base_dist.concentration],
        "beta": lambda: [p.base_dist._dirichlet.concentration],
        "categorical": lambda: [p.base_dist.logits],
        "mixture": lambda: [p.component_distribution.base_dist.loc],
        "product": lambda: [p.parts["g"].base_dist.concentration],
    }[kind]()
    leaf.requires_grad_()
    (gradient,) = torch.autograd.grad(
        ours.Missing(p).log_prob(x.masked_fill(holes, torch.nan)).sum(), leaf
    )
    assert gradient.isfinite().all()
    if kind in ("normal", "scalar", "gamma"):
        assert (gradient[holes] == 0).all() and (gradient[~holes] != 0).all()


def test_a_mixture_with_missing_cells_weighs_its_components_by_the_others():
    """p(x_mis | x_obs) = p(x) / p(x_obs)."""
    p = complete("mixture")
    x = p.sample((6,))
    seen = x.clone()
    seen[..., 1] = torch.nan
    q = ours.Missing(p)

    truth = p.log_prob(x) - q.log_prob(seen)
    torch.testing.assert_close(
        log_cells(q.given_observed(seen), x)[..., 1], truth, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "p",
    [
        dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        ours.Multinomial(torch.zeros(2), torch.tensor(3)),
        ours.Product({"m": ours.Multinomial(torch.zeros(2), torch.tensor(3))}),
        dist.MultivariateNormal(torch.zeros(3, 2), torch.eye(2)).to_event(1),
    ],
    ids=["normal", "multinomial", "column", "rows"],
)
def test_cells_that_are_not_independent_cannot_be_missing(p):
    with pytest.raises(
        TypeError, match=r"missing: the cells of a Multi\w+ are not independent.*fill x in"
    ):
        ours.Missing(p)
