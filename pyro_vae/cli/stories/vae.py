"""The VAE: z, then x."""

from collections.abc import Mapping
from typing import Any

import torch

import pyro_vae as pv
from pyro_vae.arguments import check_whole
from pyro_vae.cli import drawing
from pyro_vae.cli.data import RunData
from pyro_vae.cli.parts import Config, Parts
from pyro_vae.cli.stories.story import (
    NUM_SAMPLES,
    Drawn,
    Figures,
    Request,
    Shown,
    Story,
    arrange_plainly,
    refuse_given,
)
from pyro_vae.look import plots

OPTIONS: Mapping[str, Any] = {
    "prior": "standard-normal",
    "likelihood": "bernoulli",
    "latent": 2,
    "condition": None,
    "num_samples": NUM_SAMPLES,
}


def build(config: Config, data: RunData) -> pv.VAE:
    """p(z), p(x|z) and q(z|x), with the parameters that the seed gives."""
    parts = Parts(config, data.dataset.splits.values())
    latent = check_whole("latent", config["latent"])

    torch.manual_seed(config["seed"])
    likelihood = parts.make_likelihood(latent)
    variational = parts.make_variational(latent, parts.event)
    prior = parts.make_prior(latent, variational)

    return pv.VAE(prior=prior, likelihood=likelihood, variational=variational)


def draw(shown: Shown) -> Figures:
    """Data, samples, and where z lies."""
    pair, (x,) = shown.pair, shown.rows
    reconstructed = pv.reconstruct(pair, x)
    simulated = pv.simulate(pair, 60, mean=True)["x"]
    z = reconstructed["z"]

    figures = {
        "reconstructions": plots.reconstructions(x[:12], reconstructed["x"][:12]),
        "samples": drawing.draw_samples(simulated),
        "latents": plots.latents(z, shown.labels),
    }
    on_grid = drawing.is_real_vector(pair.variational, [1, 2])
    figures |= drawing.draw_posterior(shown, "z", z, on_grid=on_grid)
    if drawing.is_real_vector(pair.variational, [2]):
        figures |= drawing.draw_plane(shown, z)
    return figures


def sample(pair: pv.VAE, data: RunData, request: Request) -> Drawn:
    """z ~ p(z) and x ~ p(x|z)."""
    refuse_given(request)
    drawn = pv.simulate(pair, 100 if request.draws is None else request.draws)
    means = pv.reconstruct(pair, drawn["x"], at={"z": drawn["z"]})["x"]

    return Drawn(drawn, plots.data(means, title=drawing.SAMPLES))


STORY = Story(
    how="--pair vae",
    options=OPTIONS,
    arrange=arrange_plainly,
    build=build,
    draw=draw,
    sample=sample,
)
