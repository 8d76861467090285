"""Missing cells: integrated out, without a gradient, refused where cells are dependent."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vae import distributions as ours
from pyro_vae.distributions.missing import log_cells


def normal(*shape):
    return dist.Normal(torch.randn(*shape), torch.rand(*shape) + 0.5)


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
