import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.figures import CAPTIONS, draw_figures

HISTORY = pv.History([3.0, 2.5], [-3.0, -2.5], [-2.0, -1.5], [1.0, 1.0], [0.1, 0.2])
ALWAYS = {"history", "reconstructions", "samples", "latents"}


def build(latent, event, sphere=False):
    prior, variational = (
        (pv.UniformSphere(latent), pv.PowerSpherical(latent, given=event))
        if sphere
        else (pv.StandardNormal(latent), pv.Normal(latent, given=event))
    )
    likelihood = pv.Normal(event, given=latent)
    return pv.VAE(prior=prior, likelihood=likelihood, variational=variational)


def dataset(event):
    x = torch.rand(20, *event)
    labels = torch.arange(20) % 3
    return pv.data.Dataset(x, x, x, (labels, labels, labels), "")


@pytest.mark.parametrize(
    "latent, event, sphere, more",
    [
        (2, (1, 4, 4), False, {"posterior", "decoded_grid"}),
        (2, (5,), False, {"posterior"}),
        (1, (1, 4, 4), False, {"posterior"}),
        (3, (1, 4, 4), False, set()),
        (2, (1, 4, 4), True, set()),
    ],
)
def test_figures_that_apply_are_drawn_and_have_a_caption(latent, event, sphere, more):
    figures = draw_figures(build(latent, event, sphere), dataset(event), HISTORY)
    assert set(figures) == ALWAYS | more <= set(CAPTIONS)


def test_what_was_measured_is_drawn():
    pair, data = build(3, (5,)), dataset((5,))
    picture = pv.diagnostics.picture(
        pair, data.test, num_samples=20, num_steps=2, num_chains=3, simulations=20
    )
    figures = draw_figures(pair, data, HISTORY, picture)
    assert set(figures) == ALWAYS | {"posterior", "calibration"}


def test_draws_are_the_same_each_time_and_none_is_taken_from_the_caller():
    pair, data = build(2, (5,)), dataset((5,))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, two = (draw_figures(pair, data, HISTORY)["latents"] for _ in range(2))

    assert torch.equal(torch.rand(1), expected)
    first, second = (figure.axes[0].collections[0].get_offsets() for figure in (one, two))
    assert (first == second).all()
