"""The VAE with labels, some of which are known."""

from functools import partial

import torch

import pyro_vae as pv
from pyro_vae.arguments import check_whole, check_within
from pyro_vae.cli import drawing
from pyro_vae.cli.classes import hide, read_classes
from pyro_vae.cli.data import Arranged, Rows, RunData
from pyro_vae.cli.parts import Config, Parts
from pyro_vae.cli.stories.by_class import ByClass, draw_by_class
from pyro_vae.cli.stories.story import (
    ALL,
    NUM_SAMPLES,
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
from pyro_vae.objectives.objective import Loss

# objectives that are for latents that are drawn
SUMMED = dict.fromkeys(
    [
        "analytic-kl",
        "sticking-the-landing",
        "leave-one-out",
        "doubly-reparametrised",
        "piwae",
        "vimco",
        "reweighted-wake-sleep",
        "free-bits",
        "capacity",
        "total-correlation",
        "mmd",
    ],
    "y is summed over, and it is for latents that are drawn",
)
MOST = 100  # draws for each datum and class, when the class is asked for


def arrange(config: Config, dataset: Dataset) -> Arranged:
    """x, and its label in training, where it is known."""
    classes = read_classes("pair", config["data"], dataset)
    y = hide(classes.splits[0], config["labels"], config["seed"])

    return Arranged(
        train=(dataset.train, y),
        validation=(dataset.validation,),
        test=(dataset.test,),
        classes=classes,
    )


def build(config: Config, data: RunData) -> pv.LabelledVAE:
    """p(y), p(z), p(x|z,y), q(y|x) and q(z|x,y)."""
    parts = Parts(config, data.dataset.splits.values())
    latent = check_whole("latent", config["latent"])
    count = data.classes.count

    torch.manual_seed(config["seed"])
    return pv.LabelledVAE(
        labels=pv.OneHotCategorical(count, logits=0.0),
        likelihood=parts.make_likelihood([latent, count]),
        classifier=pv.OneHotCategorical(count, given=parts.event, net=parts.net),
        variational=parts.make_variational(latent, [parts.event, count]),
        prior=parts.make_prior(latent),
    )


def draw(shown: Shown) -> Figures:
    """Data, a row of samples for each class, and where z lies."""
    pair, (x,) = shown.pair, shown.rows
    reconstructed = pv.reconstruct(pair, x)

    figures = {
        "reconstructions": plots.reconstructions(x[:12], reconstructed["x"][:12]),
        "classes": sample(pair, shown.data, ALL).figure,
        "latents": plots.latents(reconstructed["z"], shown.labels),
    }
    return figures | drawing.draw_posterior(shown, "z", reconstructed["z"], on_grid=False)


def sample(pair: pv.LabelledVAE, data: RunData, request: Request) -> Drawn:
    """For each class y, z ~ p(z|y) and x ~ p(x|z,y), with the same noise for all."""
    return draw_by_class(data.classes, request, partial(draw_class, pair, data))


def draw_class(pair: pv.LabelledVAE, data: RunData, label: int, count: int) -> ByClass:
    """Draws of one class, and the means of x."""
    x = make_template(pair, data, count)
    y = torch.full((count,), label, device=x.device)
    values = pv.simulate(pair, x, y)
    means = pv.reconstruct(pair, x, y, at={"z": values["z"]})["x"]

    return ByClass(values, means)


def measure(pair: pv.LabelledVAE, data: RunData, rows: Rows, picture: Picture) -> Findings:
    """How often the label is right."""
    (x,) = rows
    y = data.classes.splits[2][: len(x)]
    found = pv.diagnostics.classify(
        pair, x, num_samples=min(picture.num_samples, MOST), progress=False
    )
    by_q = pv.diagnostics.compare_labels(found.variational.argmax(-1).cpu(), y).accuracy
    by_p = pv.diagnostics.compare_labels(found.guesses.cpu(), y).accuracy

    return {
        "The label": [
            Finding("accuracy of q(y|x)", by_q, "right among the test data, by the classifier"),
            Finding("accuracy of p(y|x)", by_p, "right by Bayes' rule, with the weights"),
        ]
    }


def weigh(config: Config, objective: pv.Objective) -> Loss:
    """The objective, with the term that trains q(y|x) on the labels that are known."""
    weight = check_within("label_weight", config["label_weight"], 0.0)
    return pv.Classification(objective, weight) if weight else objective


STORY = Story(
    how="--pair labelled",
    options={
        "prior": "standard-normal",
        "likelihood": "bernoulli",
        "latent": 6,
        "labels": None,
        "label_weight": 50.0,
        "num_samples": NUM_SAMPLES,
    },
    arrange=arrange,
    build=build,
    draw=draw,
    sample=sample,
    measure=measure,
    weigh=weigh,
    refused=SUMMED,
    is_refitted=False,
)
