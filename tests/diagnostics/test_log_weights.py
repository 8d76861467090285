import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.diagnostics import log_weights
from pyro_vae.weights import blocks
from tests.oracles import linear_gaussian


def test_with_the_posterior_as_variational_every_weight_is_the_evidence():
    world = linear_gaussian()
    x = world.sample(50)
    log_w = log_weights(world.pair(), x, num_samples=20)
    assert log_w.shape == (20, 50)
    assert (log_w - world.log_evidence(x)).abs().max() < 1e-9


def test_modes_validation_and_store_are_put_back():
    world = linear_gaussian()
    pair = world.pair()
    pair.prior.eval()
    modes = [m.training for m in pair.modules()]
    pyro.param("kept", torch.tensor(1.0))
    log_weights(pair, world.sample(3), num_samples=2)
    assert [m.training for m in pair.modules()] == modes
    assert list(pyro.get_param_store().keys()) == ["kept"]
    assert torch.distributions.Distribution._validate_args


def test_dropout_is_off():
    net = nn.Sequential(nn.Linear(2, 32), nn.Dropout(0.5), nn.Linear(32, 3))
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2, net=net),
        variational=pv.Normal(2, given=3),
    )
    x = torch.ones(4, 3)
    torch.manual_seed(1)
    first = log_weights(vae, x, num_samples=5)
    torch.manual_seed(1)
    assert torch.equal(first, log_weights(vae, x, num_samples=5))


def test_a_mask_counts_and_a_scale_does_not():
    def model(x, scale=1.0, masked=False):
        mask = x > 0 if masked else True
        with pyro.plate("data", x.shape[0]), pyro.poutine.scale(scale=scale):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.poutine.mask(mask=mask):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    x = torch.randn(6)
    plain, scaled, masked = (
        log_weights(pv.Pair(lambda x, kw=kw: model(x, **kw), guide), x, num_samples=3)
        for kw in ({}, {"scale": 1000.0}, {"masked": True})
    )
    truth = dist.Normal(0.0, 2**0.5).log_prob(x).double().expand(3, 6)
    assert torch.allclose(plain, truth, atol=1e-5) and torch.allclose(scaled, truth, atol=1e-5)
    assert torch.allclose(masked[:, x > 0], truth[:, x > 0], atol=1e-5)
    assert ((masked - truth)[:, x <= 0].abs() > 1e-2).all()


def plate(x, **kwargs):
    return pyro.plate("data", x.shape[0], **kwargs)


def good_model(x):
    with plate(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def good_guide(x):
    with plate(x):
        pyro.sample("z", dist.Normal(0.0, 1.0))


def global_model(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with plate(x):
        z = pyro.sample("z", dist.Normal(mu, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def global_guide(x):
    pyro.sample("mu", dist.Normal(0.0, 1.0))
    good_guide(x)


def richer_model(x):
    with plate(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0)) + pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def richer_guide(x):
    with plate(x):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("extra", dist.Normal(0.0, 1.0))


def subsampling_model(x):
    with plate(x, subsample_size=2) as i:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[i])


def subsampling_guide(x):
    with plate(x, subsample_size=2):
        pyro.sample("z", dist.Normal(0.0, 1.0))


def undeclared_model(x):
    with plate(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)


def vector_guide(x):
    with plate(x):
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))


@pytest.mark.parametrize(
    "model, guide, said",
    [
        (richer_model, good_guide, "guide lacks the latent 'w'"),
        (good_model, richer_guide, "model lacks the latent 'extra'"),
        (global_model, global_guide, "'mu' of the model is outside the plate over the data"),
        (subsampling_model, subsampling_guide, "subsamples"),
        (undeclared_model, vector_guide, "'x' of the model is outside the plate over the data"),
    ],
)
def test_what_has_no_weight_per_datum_is_refused(model, guide, said):
    with pytest.raises(ValueError, match=said):
        log_weights(pv.Pair(model, guide), torch.randn(5), num_samples=2)


@pytest.mark.parametrize(
    "num_samples, error", [(0, ValueError), (-1, ValueError), (2.5, TypeError)]
)
def test_num_samples_is_a_positive_whole_number(num_samples, error):
    with pytest.raises(error, match="num_samples"):
        log_weights(pv.Pair(good_model, good_guide), torch.randn(5), num_samples=num_samples)


def test_compiled_they_are_the_same(monkeypatch):
    """With blocks and pieces that do not come out even, which run as they are."""
    torch.manual_seed(0)
    pair = pv.VAE(
        prior=pv.Mixture(pv.Normal, 2, components=3),
        likelihood=pv.Bernoulli(5, given=2),
        variational=pv.Normal(2, given=5),
    )
    x = torch.bernoulli(torch.full((7, 5), 0.4))
    monkeypatch.setattr(blocks, "KEPT", 90)
    monkeypatch.setattr(blocks, "DECODED", {"cpu": 60})
    found = []
    for compile in (False, True):
        torch.manual_seed(1)
        found.append(log_weights(pair, x, num_samples=14, compile=compile))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def test_draws_that_are_mixed_when_scored_together_are_refused():
    def model(x):
        with plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            mixed = z - z.mean(0) if z.dim() == 2 else z
            pyro.sample("x", dist.Normal(mixed, 1.0), obs=x)

    with pytest.raises(ValueError, match="scored otherwise when several draws are scored together"):
        log_weights(pv.Pair(model, good_guide), torch.randn(5), num_samples=2)


def test_admission_leaves_the_random_state_of_the_draws_alone():
    world = linear_gaussian()
    x = world.sample(3)
    torch.manual_seed(1)
    first = log_weights(world.pair(shift=0.3), x, num_samples=4)
    torch.manual_seed(1)
    assert torch.equal(first, log_weights(world.pair(shift=0.3), x, num_samples=4))


@pytest.mark.parametrize("per_site", [False, True])
def test_the_bar_moves_with_the_pieces_of_a_block(per_site, monkeypatch):
    told, world = [], linear_gaussian()
    x = world.sample(3)
    monkeypatch.setitem(blocks.DECODED, "cpu", 4 * x.numel())
    ((_, weights),) = blocks.weigh_in_blocks(
        world.pair(), (x,), 10, per_site=per_site, tell=told.append
    )
    assert told == [12, 12, 6] and weights.log_weight.numel() == 30
