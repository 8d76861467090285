"""The figures of a run."""

import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.cli.data import RunData
from pyro_vae.cli.stories.story import Figures, Shown, Story
from pyro_vae.diagnostics import Picture
from pyro_vae.look import plots
from pyro_vae.weights.threads import MEASUREMENT, spared_threads

CAPTIONS = {
    "history": "Training: the ELBO and its two terms.",
    "reconstructions": "Test data, and what the decoder expects at a draw of q(z|x).",
    "samples": "What the decoder expects at draws of the prior.",
    "classes": "What the decoder expects for each class, a row for each.",
    "clusters": "The test data that belong to each cluster most surely, a row for each.",
    "levels": "What the decoder expects where the upper levels stay and the lower are drawn anew.",
    "words": "The most probable words of each topic.",
    "columns": "Each column of the table, and of rows that were drawn.",
    "cross": "Images that are drawn for a label alone, a row for each label.",
    "cluster_latents": "Where q(z|x) puts the test data, coloured by cluster.",
    "latents": "Where q(z|x) puts the test data.",
    "posterior": "The true posterior p(z|x) of single test data, and q(z|x).",
    "decoded_grid": "What the decoder expects over z.",
    "calibration": (
        "Ranks of the true z among draws of q(z|x), on simulated data; flat if q is the posterior."
    ),
}
SHOWN = 2000  # test data in the figure of latents, at most


def draw_figures(
    story: Story,
    pair: nn.Module,
    data: RunData,
    history: pv.History,
    picture: Picture | None = None,
) -> Figures:
    """Draw the figures of a run, by name. Those that do not apply to the pair are left out.

    Arguments:
        story: What the command line knows of the pair.
        pair: The trained pair.
        data: The data of the run, of which the test split is shown.
        history: The history of training.
        picture: What was measured, if anything was.
    """
    device = next(pair.parameters()).device
    rows = tuple(d[:SHOWN].to(device) for d in data.test)
    labels = None if data.dataset.labels is None else data.dataset.labels[2][:SHOWN]
    shown = Shown(pair, rows, labels, data, picture)

    figures = {"history": plots.history(history)}
    # the same draws in every call, and none taken from the caller
    with torch.random.fork_rng(devices=[]), spared_threads(0.0, MEASUREMENT):
        torch.manual_seed(0)
        figures |= story.draw(shown)

    if picture is not None and picture.calibration is not None:
        figures["calibration"] = plots.ranks(picture.calibration)
    return figures


def find_caption(name: str) -> str:
    """The caption of a figure, `latents-z2` for example, which is of the latent z2."""
    stem, _, latent = name.partition("-")
    return f"{latent}: {CAPTIONS[stem]}" if latent else CAPTIONS[stem]
