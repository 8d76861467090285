"""How a pair is run: traces under a plate of draws, and what is put back."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyro_vae as pv
from pyro_vae.weights.traces import (
    hide_observed,
    is_factor,
    latent_sites,
    latent_values,
    log_prob,
    observed_sites,
    quietly,
    sample_sites,
    trace,
    unvalidated,
)

X = torch.arange(5.0)


def model(x):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def subsampling(x):
    with pyro.plate("data", x.shape[0], subsample_size=2) as i:
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x[i])


def test_draws_lie_along_the_first_dimension():
    assert trace(model, (X,)).nodes["z"]["value"].shape == (5,)
    assert trace(model, (X,), draws=3).nodes["z"]["value"].shape == (3, 5)


def test_latents_take_the_place_of_draws():
    z = torch.randn(3, 5)
    run = trace(model, (X,), draws=3, latents={"z": z})
    assert latent_values(run)["z"] is z
    expected = dist.Normal(z, 1.0).log_prob(X)
    assert torch.equal(log_prob(observed_sites(run)["x"]), expected)


@pytest.mark.parametrize("fn", [model, subsampling])
def test_plates_are_no_sample_sites(fn):
    run = trace(fn, (X,), draws=3)
    assert list(sample_sites(run)) == ["z", "x"]
    assert list(latent_sites(run)) == ["z"]
    assert list(observed_sites(run)) == ["x"]


def test_a_mask_counts_and_a_scale_does_not():
    masked = poutine.mask(poutine.scale(model, scale=7.0), mask=X > 2)
    z = torch.randn(5)
    sites = sample_sites(trace(masked, (X,), latents={"z": z}))
    expected = dist.Normal(z, 1.0).log_prob(X) * (X > 2)
    assert torch.equal(log_prob(sites["x"]), expected)


def test_a_guide_without_what_it_observes_keeps_its_draws_and_factors():
    def guide(x):
        with pyro.plate("data", x.shape[0]):
            t = pyro.sample("t", dist.Normal(0.0, 1.0), obs=x)
            pyro.factor("term", t, has_rsample=False)
            pyro.sample("z", dist.Normal(t, 1.0))

    run = trace(hide_observed(guide), (X,))
    assert list(sample_sites(run)) == ["term", "z"]
    assert is_factor(run.nodes["term"]) and not is_factor(run.nodes["z"])


def test_quietly_switches_gradients_and_training_off_and_puts_everything_back():
    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    pair.prior.eval()
    modes = [module.training for module in pair.modules()]

    def look():
        assert not any(module.training for module in pair.modules())
        assert not torch.is_grad_enabled()
        trace(pair.guide, (torch.zeros(4, 3),))
        raise KeyError

    with pytest.raises(KeyError), quietly(pair):
        look()

    assert [module.training for module in pair.modules()] == modes
    assert torch.is_grad_enabled()
    assert not list(pyro.get_param_store().keys())


@pytest.mark.parametrize("flag", [True, False])
def test_validation_is_off_within_and_as_it_was_afterwards(flag):
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(flag)
    try:
        with unvalidated():
            dist.Normal(0.0, -1.0)
            assert not torch.distributions.Distribution._validate_args
        assert torch.distributions.Distribution._validate_args is flag
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)
