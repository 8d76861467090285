"""The VAE of two modalities: an image, and its label."""

from functools import partial

import torch

import pyro_vae as pv
from pyro_vae.arguments import check_choice, check_whole, check_within
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

NORMAL = {"prior": ("standard-normal", "normal"), "variational": ("normal",)}
TITLE = "means of p(image|z) for a label alone, z drawn from q(z|label): a row for each label"
MOST = 200  # draws of q(z|image) for each datum, when the label is asked for


def arrange(config: Config, dataset: Dataset) -> Arranged:
    """x, and its label as a one-hot vector, which is NaN where it is not known."""
    if config["labels"] is not None:
        check_whole("labels", config["labels"])
    classes = read_classes("pair", config["data"], dataset)
    train, validation, test = classes.vectors
    known = hide(classes.splits[0], config["labels"], config["seed"]) >= 0
    train[~known] = torch.nan

    return Arranged(
        train=(dataset.train, train),
        validation=(dataset.validation, validation),
        test=(dataset.test, test),
        classes=classes,
    )


def build(config: Config, data: RunData) -> pv.MultimodalVAE:
    """p(z), p(image|z), p(label|z), and an expert for each."""
    for role, names in NORMAL.items():
        check_choice(role, config[role], names)
    parts = Parts(config, data.dataset.splits.values())
    latent, count = check_whole("latent", config["latent"]), data.classes.count

    torch.manual_seed(config["seed"])
    return pv.MultimodalVAE(
        likelihoods={
            "image": parts.make_likelihood(latent),
            "label": pv.OneHotCategorical(count, given=latent),
        },
        experts={
            "image": parts.make_variational(latent, parts.event),
            "label": parts.make_inner(latent, count),
        },
        prior=parts.make_prior(latent),
    )


def draw(shown: Shown) -> Figures:
    """Data, a row of images for each label, and where z lies."""
    pair, (image, _) = shown.pair, shown.rows
    reconstructed = pv.reconstruct(pair, *shown.rows)
    z = reconstructed["z"]

    figures = {
        "reconstructions": plots.reconstructions(image[:12], reconstructed["image"][:12]),
        "cross": sample(pair, shown.data, ALL).figure,
        "latents": plots.latents(z, shown.labels),
    }
    has_grid = drawing.is_real_vector(pair.prior, [1, 2])
    figures |= drawing.draw_posterior(shown, "z", z, on_grid=has_grid)
    if drawing.is_real_vector(pair.prior, [2]):
        figures |= drawing.draw_plane(shown, z, site="image")
    return figures


def sample(pair: pv.MultimodalVAE, data: RunData, request: Request) -> Drawn:
    """For each label, z ~ q(z|label) and image ~ p(image|z)."""
    return draw_by_class(data.classes, request, partial(_draw_image, pair, data), title=TITLE)


def _draw_image(pair: pv.MultimodalVAE, data: RunData, label: int, count: int) -> ByClass:
    template = make_template(pair, data, count)
    image = torch.full_like(template, torch.nan, dtype=torch.float32)
    vector = torch.eye(data.classes.count, device=image.device)[label].expand(count, -1)
    drawn = pv.reconstruct(pair, image, vector, mean=False)
    means = pv.reconstruct(pair, image, vector, at={"z": drawn["z"]})["image"]

    return ByClass(drawn, means)


def measure(pair: pv.MultimodalVAE, data: RunData, rows: Rows, picture: Picture) -> Findings:
    """How often the label is guessed from the image alone."""
    image, label = rows
    unknown = torch.full_like(label, torch.nan)
    num_samples = min(picture.num_samples, MOST)
    found = pv.diagnostics.cross_generate(
        pair, image, unknown, num_samples=num_samples, progress=False
    )
    by_q, by_p = (
        pv.diagnostics.compare_labels(p["label"].value.argmax(-1), label.argmax(-1)).accuracy
        for p in (found.variational, found.posterior)
    )
    return {
        "The label from the image alone": [
            Finding("accuracy by q(z|image)", by_q, "right among the test data"),
            Finding("accuracy by p(z|image)", by_p, "the same by Bayes' rule, with the weights"),
        ]
    }


def weigh(config: Config, objective: pv.Objective) -> Loss:
    """The objective over subsets of the modalities, with a weight on p(label|z)."""
    weight = check_within("label_weight", config["label_weight"], 0.0)
    loss = pv.Subsets(objective) if config["subsets"] else objective
    return loss if weight == 1 else pv.LikelihoodWeights(loss, {"label": weight})


STORY = Story(
    how="--pair multimodal",
    options={
        "prior": "standard-normal",
        "likelihood": "bernoulli",
        "latent": 6,
        "labels": None,
        "label_weight": 10.0,  # at 1 an image of many pixels outweighs its label
        "subsets": True,
        "num_samples": NUM_SAMPLES,
    },
    arrange=arrange,
    build=build,
    draw=draw,
    sample=sample,
    measure=measure,
    weigh=weigh,
)
