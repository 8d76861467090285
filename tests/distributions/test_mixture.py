"""Mixtures: their support, and the gradient of their draws."""

import math

import pyro.distributions as dist
import pytest
import torch

from pyro_vae.distributions import Mixture
from tests.draws import assert_within_errors


@pytest.mark.parametrize(
    "component",
    [
        dist.Normal(torch.zeros(3, 2), 1.0).to_event(1),
        dist.Beta(torch.ones(3), 2.0),
        dist.Poisson(torch.ones(3, 4, 2)).to_event(2),
        dist.MultivariateNormal(torch.zeros(3, 2), torch.eye(2)),
    ],
    ids=lambda d: str(d.support),
)
def test_a_mixture_has_the_support_of_its_components(component):
    mixture = Mixture(dist.Categorical(torch.ones(3)), component)

    assert mixture.support is component.support or str(mixture.support) == str(component.support)
    assert mixture.expand([5]).support.event_dim == component.support.event_dim
    assert mixture.support.check(mixture.sample((7,))).all()
    assert not mixture.support.check(mixture.sample() * torch.nan).any()


# The expectation of a function over a grid is differentiated, and the gradient of draws is compared
# with it

COMPONENTS = {
    "normal": lambda loc, scale: dist.Normal(loc, scale).to_event(1),
    "Laplace": lambda loc, scale: dist.Laplace(loc, scale).to_event(1),
    "logistic": lambda loc, scale: dist.Logistic(loc, scale).to_event(1),
    "Cauchy": lambda loc, scale: dist.Cauchy(loc, scale).to_event(1),
    "Gumbel": lambda loc, scale: dist.Gumbel(loc, scale).to_event(1),
    "full": lambda loc, scale: dist.MultivariateNormal(loc, scale_tril=tril(scale)),
    "low rank": lambda loc, scale: dist.LowRankMultivariateNormal(loc, scale.unsqueeze(-1), scale),
}


def tril(scale):
    return torch.diag_embed(scale) + torch.tensor(
        [[0.0, 0.0], [0.8, 0.0]]
    ).double() * scale.unsqueeze(-1)


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_draw_of_a_mixture_has_the_gradient_of_its_expectation(name):
    loc = torch.tensor([[-1.0, 0.5], [1.0, -0.5], [0.3, 1.5]]).double()
    scale = torch.tensor([[0.5, 1.0], [0.8, 0.4], [1.2, 0.7]]).double()
    parameters = (torch.tensor([0.0, 1.0, -0.5]).double(), loc, scale)

    def mixture(logits, loc, scale):
        return Mixture(dist.Categorical(logits=logits), COMPONENTS[name](loc, scale))

    def f(z):
        return torch.sin(z[..., 0] + 0.3) * torch.exp(-z[..., 1].square() / 8) + torch.cos(
            0.7 * z.sum(-1)
        )

    angle = (torch.arange(800).double() + 0.5) * math.pi / 800 - math.pi / 2
    grid = torch.cartesian_prod(angle.tan(), angle.tan())
    grid = (
        grid[(grid > -20).all(-1)] if name == "Gumbel" else grid
    )  # below, its density underflows in the gradient
    weight = (math.pi / 800) ** 2 * (1 + grid.square()).prod(-1)

    def expectation(*parameters):
        return (weight * mixture(*parameters).log_prob(grid).exp() * f(grid)).sum()

    truth = torch.autograd.functional.jacobian(expectation, parameters)
    many = [a.expand(30_000, *a.shape).clone().requires_grad_() for a in parameters]
    p = mixture(*many)
    drawn = torch.autograd.grad(f(p.rsample()).sum(), many)

    assert p.has_rsample
    for mine, true in zip(drawn, truth):
        assert_within_errors(mine, true, floor=2e-3)


def test_draws_of_a_mixture_keep_their_values():
    loc = torch.randn(5, 3, 2, 2, requires_grad=True)
    p = Mixture(dist.Categorical(torch.ones(5, 3)), dist.Normal(loc, 1.0).to_event(2))
    torch.manual_seed(1)
    drawn = p.rsample((7,))
    torch.manual_seed(1)
    assert (
        torch.equal(drawn, p.sample((7,))) and drawn.requires_grad and drawn.shape == (7, 5, 2, 2)
    )


def test_a_mixture_of_others_says_that_it_has_no_reparametrised_draws():
    p = Mixture(dist.Categorical(torch.ones(3)), dist.StudentT(torch.full((3,), 4.0)))
    assert not p.has_rsample and p.sample().shape == ()
    with pytest.raises(
        NotImplementedError, match="a mixture of StudentT has no reparametrised draws"
    ):
        p.rsample()
