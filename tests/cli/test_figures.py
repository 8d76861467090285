import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.figures import draw_figures, find_caption
from pyro_vae.cli.stories import choose_story
from tests.commands import CONFIG, arrange

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


def data_of(event):
    return arrange(CONFIG, torch.rand(20, *event), labels=torch.arange(20) % 3)


def draw(pair, data, picture=None):
    return draw_figures(choose_story(CONFIG), pair, data, HISTORY, picture)


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
    figures = draw(build(latent, event, sphere), data_of(event))
    assert set(figures) == ALWAYS | more and all(map(find_caption, figures))


def test_what_was_measured_is_drawn():
    pair, data = build(3, (5,)), data_of((5,))
    picture = pv.diagnostics.picture(
        pair, *data.test, num_samples=20, num_steps=2, num_chains=3, simulations=20
    )
    figures = draw(pair, data, picture)
    assert set(figures) == ALWAYS | {"posterior", "calibration"}


def test_draws_are_the_same_each_time_and_none_is_taken_from_the_caller():
    pair, data = build(2, (5,)), data_of((5,))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, two = (draw(pair, data)["latents"] for _ in range(2))

    assert torch.equal(torch.rand(1), expected)
    first, second = (figure.axes[0].collections[0].get_offsets() for figure in (one, two))
    assert (first == second).all()


def test_a_figure_of_one_latent_says_so():
    assert find_caption("latents-z2") == "z2: Where q(z|x) puts the test data."
