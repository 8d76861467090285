import pytest
import torch
from torch.distributions import Normal

from pyro_vae.diagnostics.normal_fit import Normals, fit_normal
from tests.oracles import linear_gaussian, narrow_gaussian


def joint(world, x):
    """log p(x, z) of a linear Gaussian world, as a function of z `[k, n, d]`."""

    def score(z):
        log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
        mean = z @ world.w.T.to(z) + world.b.to(z)
        return log_prior + Normal(mean, world.s).log_prob(x.to(z)).sum(-1)

    return score


@pytest.mark.parametrize("precision, most", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("world", [linear_gaussian(1, 2), narrow_gaussian(20, 3847.0)])
def test_a_normal_posterior_is_found_from_far_away(world, precision, most):
    x = world.sample(5)
    d = world.w.shape[1]
    start = torch.full((5, d), 3.0, dtype=precision)
    found = fit_normal(joint(world, x), start, torch.ones_like(start))
    assert world.gap(x, found.mean, found.tril @ found.tril.mT).max() < most


def test_of_another_density_it_is_the_normal_of_the_highest_elbo():
    """log p(u) = u - exp(u): for N(m, s²) it is m - exp(m + s²/2) + log s, best at s² = 1.

    It is found but for the few points.
    """
    start = torch.full((4, 3), -2.0)
    found = fit_normal(lambda u: (u - u.exp()).sum(-1), start, torch.full((4, 3), 0.1))
    scale = found.tril.diagonal(dim1=-2, dim2=-1)
    bound = found.mean - (found.mean + scale.square() / 2).exp() + scale.log()
    assert (-1.5 - bound.sum(-1) / 3).abs().max() < 0.05


def test_without_a_bound_it_stops_and_stays_finite():
    """A density that grows without end, and one that is nowhere finite."""
    for score in (lambda u: u.square().sum(-1), lambda u: (u * torch.nan).sum(-1)):
        found = fit_normal(score, torch.zeros(2, 3), torch.ones(2, 3))
        assert found.mean.isfinite().all() and found.tril.isfinite().all()


def test_a_block_is_given_the_others_at_their_means():
    world = narrow_gaussian(4, 50.0)
    normals = Normals(torch.zeros(1, 4).double(), torch.linalg.cholesky(world.covariance)[None])
    block = normals.block(slice(1, 3))
    precision = torch.linalg.inv(world.covariance)[1:3, 1:3]
    assert torch.allclose(torch.linalg.inv(block.tril @ block.tril.mT)[0], precision)


def test_noise_becomes_draws():
    normals = Normals(torch.tensor([[1.0, 2.0]]), torch.tensor([[[2.0, 0.0], [1.0, 3.0]]]))
    assert normals.place(torch.ones(1, 1, 2)).tolist() == [[[3.0, 6.0]]]
    assert normals.log_volume().exp().item() == pytest.approx(6.0)
