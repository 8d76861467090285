"""The conditional VAE: z, then x given z and its class."""

from functools import partial

import torch

import pyro_vae as pv
from pyro_vae.arguments import check_choice, check_whole
from pyro_vae.cli import drawing
from pyro_vae.cli.classes import read_classes
from pyro_vae.cli.data import Arranged, Rows, RunData
from pyro_vae.cli.parts import Config, Parts
from pyro_vae.cli.stories import vae
from pyro_vae.cli.stories.by_class import ByClass, draw_by_class
from pyro_vae.cli.stories.story import (
    ALL,
    Drawn,
    Figures,
    Request,
    Shown,
    Story,
    make_template,
)
from pyro_vae.data import Dataset
from pyro_vae.diagnostics import Picture
from pyro_vae.look import plots
from pyro_vae.look.findings import Finding, Findings

CONDITIONS = ("labels",)
TITLE = "means of p(x|z,c): a row for each class, a column for each z"
MOST = 100  # draws for each datum and class, when the class is asked for


def arrange(config: Config, dataset: Dataset) -> Arranged:
    """x, and its class as a one-hot vector."""
    check_choice("condition", config["condition"], CONDITIONS)
    classes = read_classes("condition", config["data"], dataset)
    splits = zip(dataset.splits.values(), classes.vectors, strict=True)
    train, validation, test = splits

    return Arranged(train=train, validation=validation, test=test, classes=classes)


def build(config: Config, data: RunData) -> pv.VAE:
    """p(z), p(x|z,c) and q(z|x,c)."""
    parts = Parts(config, data.dataset.splits.values())
    latent = check_whole("latent", config["latent"])
    count = data.classes.count

    torch.manual_seed(config["seed"])
    return pv.VAE(
        likelihood=parts.make_likelihood([latent, count]),
        variational=parts.make_variational(latent, [parts.event, count]),
        prior=parts.make_prior(latent),
    )


def draw(shown: Shown) -> Figures:
    """Data, a row of samples for each class, and where z lies."""
    pair, (x, c) = shown.pair, shown.rows
    reconstructed = pv.reconstruct(pair, x, c)
    z = reconstructed["z"]

    figures = {
        "reconstructions": plots.reconstructions(x[:12], reconstructed["x"][:12]),
        "classes": sample(pair, shown.data, ALL).figure,
        "latents": plots.latents(z, shown.labels),
    }
    on_grid = drawing.is_real_vector(pair.variational, [1, 2])
    return figures | drawing.draw_posterior(shown, "z", z, on_grid=on_grid)


def sample(pair: pv.VAE, data: RunData, request: Request) -> Drawn:
    """For each class c, z ~ p(z) and x ~ p(x|z,c), with the same z for all."""
    return draw_by_class(data.classes, request, partial(_draw_class, pair, data), TITLE)


def _draw_class(pair: pv.VAE, data: RunData, label: int, count: int) -> ByClass:
    x = make_template(pair, data, count)
    c = torch.eye(data.classes.count, device=x.device)[label].expand(count, -1)
    values = pv.simulate(pair, x, c)
    means = pv.reconstruct(pair, x, c, at={"z": values["z"]})["x"]

    return ByClass(values, means)


def measure(pair: pv.VAE, data: RunData, rows: Rows, picture: Picture) -> Findings:
    """How often the class is the argmax of log p(x|c) + log p(c)."""
    x, c = rows
    log_p = data.train[1].mean(0).log().to(x.device)
    log_joint = torch.stack(
        [
            pv.diagnostics.log_evidence(
                pair,
                x,
                torch.eye(len(log_p), device=x.device)[label].expand_as(c),
                num_samples=min(picture.num_samples, MOST),
                progress=False,
            ).value
            + log_p[label]
            for label in range(len(log_p))
        ]
    )
    guesses = log_joint.argmax(0)
    accuracy = pv.diagnostics.compare_labels(guesses, c.argmax(-1)).accuracy
    meaning = "right among the test data, by the argmax of log p(x|c) + log p(c)"
    return {"The class by Bayes' rule": [Finding("accuracy", accuracy, meaning)]}


STORY = Story(
    how="--condition labels",
    options=vae.OPTIONS,
    arrange=arrange,
    build=build,
    draw=draw,
    sample=sample,
    measure=measure,
)
