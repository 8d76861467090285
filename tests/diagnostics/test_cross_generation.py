"""One modality from another, in a linear world where it is a normal."""

from functools import partial

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import cross_generate
from pyro_vae.weights import blocks
from tests.oracles import linear_modalities, near, plain, within

QUIET = {"progress": False}


def world():
    """The linear world, image and no text, and the mean and scale of p(text | image)."""
    linear = linear_modalities()
    image, text = linear.sample(4)
    w, b = torch.cat(list(linear.w.values())), torch.cat(list(linear.b.values()))
    covariance = linear.t**2 * w @ w.T + linear.s**2 * torch.eye(7).double()
    mean = w @ linear.m + b
    gain = covariance[4:, :4] @ torch.linalg.inv(covariance[:4, :4])
    truth = mean[4:] + (image - mean[:4]) @ gain.T
    scale = (covariance[4:, 4:] - gain @ covariance[:4, 4:]).diagonal().sqrt()
    return linear, (image, torch.full_like(text, torch.nan)), truth, scale


def test_with_exact_experts_both_are_right():
    linear, data, truth, _ = world()
    found = cross_generate(linear.pair(), *data, num_samples=4000, **QUIET)
    assert near(found.variational["text"], truth) and near(found.posterior["text"], truth)
    torch.testing.assert_close(found.ess, torch.full((4,), 4000.0).double())


def test_the_weights_mend_a_wrong_q():
    linear, data, truth, scale = world()
    pair = linear.pair(stretch=2.0)
    found = cross_generate(pair, *data, num_samples=20_000, draws=4000, **QUIET)
    assert not near(found.variational["text"], truth)
    assert near(found.posterior["text"], truth)
    drawn = found.draws["text"]
    error = scale * (1 / found.ess + 1 / 4000).sqrt()[:, None]
    assert within(drawn.mean(0), truth, error)
    assert within(drawn.std(0) / scale, torch.ones(()), error / scale)


def make(join="product"):
    torch.manual_seed(0)
    net = partial(pv.networks.mlp, hidden=(5,))
    return pv.MultimodalVAE(
        prior=pv.StandardNormal(2),
        likelihoods={
            "image": pv.Bernoulli((2, 2), given=2, net=net),
            "label": pv.OneHotCategorical(3, given=2, net=net),
            "heavy": pv.StudentT(2, given=2, df=0.5, net=net),
        },
        experts={
            "image": pv.Normal(2, given=(2, 2), net=net),
            "label": pv.Normal(2, given=3, net=net),
            "heavy": pv.Normal(2, given=2, net=net),
        },
        join=join,
    )


def rows():
    image = torch.bernoulli(torch.full((5, 2, 2), 0.5))
    return image, torch.full((5, 3), torch.nan), torch.randn(5, 2)


@pytest.mark.parametrize("join", ["product", "mixture"])
def test_a_label_has_probabilities_and_draws(join):
    found = cross_generate(make(join), *rows(), num_samples=50, draws=6, **QUIET)
    for each in (found.variational, found.posterior):
        torch.testing.assert_close(each["label"].value.sum(-1), torch.ones(5))
        assert each["label"].stderr.shape == (5, 3)
    assert found.draws["label"].shape == (6, 5, 3)
    assert torch.equal(found.draws["label"].sum(-1), torch.ones(6, 5))
    assert found.draws["image"].shape == (6, 5, 2, 2)


def test_a_family_without_a_mean_has_none_and_has_draws():
    found = cross_generate(make(), *rows(), num_samples=50, draws=6, **QUIET)
    assert not found.posterior["heavy"].value.isfinite().any()
    assert found.draws["heavy"].isfinite().all()


def test_blocks_of_data_are_joined(monkeypatch):
    linear, data, truth, _ = world()
    monkeypatch.setattr(blocks, "KEPT", 2000 * 7 * 2)
    found = cross_generate(linear.pair(), *data, num_samples=2000, draws=3, **QUIET)
    assert near(found.posterior["text"], truth)
    assert found.draws["text"].shape == (3, 4, 3)


@pytest.mark.parametrize(
    ("pair", "options", "error", "words"),
    [
        (plain, {}, TypeError, "pair: expected a MultimodalVAE, got VAE"),
        (make, {"num_samples": 0}, ValueError, "num_samples"),
        (make, {"draws": -1}, ValueError, "draws"),
    ],
)
def test_bad_arguments(pair, options, error, words):
    with pytest.raises(error, match=words):
        cross_generate(pair(), *rows(), **options)
