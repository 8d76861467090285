import math

import pytest
import torch

from pyro_vae.diagnostics import elbo
from tests.oracles import linear_gaussian, within


@pytest.mark.parametrize("shift, stretch", [(0.3, 1.0), (0.0, 1.5), (0.1, 0.95)])
def test_with_a_wrong_variational_its_terms_are_those_of_the_closed_form(shift, stretch):
    world = linear_gaussian()
    x = world.sample(40)
    pair = world.pair(shift, stretch)
    truth = world.log_evidence(x)
    mean = (x - world.b) @ world.to_mean.T + shift
    gap = world.gap(x, mean, stretch**2 * world.covariance)

    e = elbo(pair, x, num_samples=4000)
    assert within(truth - e.value, gap, e.stderr)
    assert within(e.reconstruction.value - e.kl.value, e.value, torch.zeros(()))
    kl = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(mean, stretch**2 * world.covariance),
        torch.distributions.MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()),
    )
    assert within(e.kl.value, kl, e.kl.stderr)


def test_standard_errors_are_what_they_say():
    world = linear_gaussian()
    x = world.sample(5)
    pair = world.pair(0.2)
    runs = [elbo(pair, x, num_samples=50, progress=False) for _ in range(200)]
    for term in (lambda run: run, lambda run: run.reconstruction, lambda run: run.kl):
        spread = torch.stack([term(run).value for run in runs]).std(0)
        claimed = torch.stack([term(run).stderr for run in runs]).square().mean(0).sqrt()
        assert (spread / claimed - 1).abs().max() < 5 / math.sqrt(2 * 200)


def test_a_single_draw_has_no_finite_error():
    world = linear_gaussian()
    e = elbo(world.pair(), world.sample(4), num_samples=1)
    assert e.value.isfinite().all() and e.stderr.isinf().all() and e.kl.stderr.isinf().all()
