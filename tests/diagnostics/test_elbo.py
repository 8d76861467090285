import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import elbo
from tests.oracles import linear_gaussian, partly_there, sequential_pair, within


def kl_of_normals(difference, q, p):
    """KL of normals, from the squared difference of their means and their scales."""
    return math.log(p / q) + (q**2 + difference) / (2 * p**2) - 0.5


def adds_up(found):
    whole = (found.reconstruction.value, found.kl.value)
    parts = (sum(site.value for site in sites.values()) for sites in (found.observed, found.latent))
    return all((a - b).abs().max() < 1e-9 for a, b in zip(whole, parts, strict=True))


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


def test_the_terms_of_each_latent_are_those_of_the_closed_form():
    x = torch.randn(20)
    found = elbo(sequential_pair(), x, num_samples=4000, per_site=True, progress=False)
    a = kl_of_normals((0.4 * x) ** 2, 0.6, 1.0)
    # b given a: the means differ by 0.2 (x - a), a ~ N(0.4 x, 0.6²)
    b = kl_of_normals((0.2 * 0.6 * x) ** 2 + (0.2 * 0.6) ** 2, 0.5, 0.8)

    assert list(found.latent) == ["a", "b"] and list(found.observed) == ["x"]
    assert within(found.latent["a"].value, a.double(), found.latent["a"].stderr)
    assert within(found.latent["b"].value, b.double(), found.latent["b"].stderr)
    assert adds_up(found)


def test_the_terms_of_sites_are_kept_where_they_are_asked_for():
    world = linear_gaussian()
    x = world.sample(4)
    torch.manual_seed(1)
    plain = elbo(world.pair(), x, num_samples=3, progress=False)
    torch.manual_seed(1)
    found = elbo(world.pair(), x, num_samples=3, per_site=True, progress=False)

    assert plain.observed is None and plain.latent is None
    assert torch.equal(found.value, plain.value)
    assert torch.equal(found.latent["z"].value, plain.kl.value)
    assert torch.equal(found.observed["x"].value, plain.reconstruction.value)


def test_a_latent_that_is_masked_costs_nothing_where_it_is_not_there():
    pair, data, _ = partly_there()
    found = elbo(pair, *data, num_samples=50, per_site=True, progress=False)
    is_there = data[1]

    assert (found.latent["b"].value[~is_there] == 0).all()
    assert (found.latent["b"].value[is_there] != 0).all()
    assert adds_up(found)


def test_of_a_listed_latent_the_terms_are_expectations():
    vae = pv.VAE(
        prior=pv.OneHotCategorical(3, logits=0.0),
        likelihood=pv.Bernoulli(4, given=3),
        variational=pv.OneHotCategorical(3, given=4),
        enumerate=True,
    )
    x = torch.bernoulli(torch.full((6, 4), 0.5))
    found = elbo(vae, x, num_samples=2, per_site=True, progress=False)
    with torch.no_grad():
        q = vae.variational(x)
        truth = torch.distributions.kl_divergence(q, vae.prior().expand(q.batch_shape))

    torch.testing.assert_close(found.latent["z"].value, truth.double(), rtol=1e-5, atol=1e-6)
    assert found.latent["z"].stderr.max() < 1e-9 and adds_up(found)


def test_of_labels_and_latents_the_terms_add_up():
    pair = pv.LabelledVAE(
        labels=pv.OneHotCategorical(3, logits=0.0),
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(4, given=[2, 3]),
        classifier=pv.OneHotCategorical(3, given=4),
        variational=pv.Normal(2, given=[4, 3]),
    )
    x, y = torch.bernoulli(torch.full((6, 4), 0.5)), torch.tensor([0, 1, 2, -1, -1, -1])
    found = elbo(pair, x, y, num_samples=5, per_site=True, progress=False)
    unknown = next(name for name in found.latent if name.startswith("y"))

    assert adds_up(found)
    assert found.latent[unknown].value[:3].abs().max() < 1e-6
    assert found.latent[unknown].value[3:].min() > 0
