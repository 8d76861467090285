"""The VAE with labels of which none is known: clusters."""

from functools import partial
from typing import Any

import torch

import pyro_vae as pv
from pyro_vae.arguments import check_choice, check_whole
from pyro_vae.cli import drawing
from pyro_vae.cli.classes import NONE_KNOWN, Classes
from pyro_vae.cli.data import Arranged, Rows, RunData
from pyro_vae.cli.parts import Config, Parts
from pyro_vae.cli.stories.by_class import draw_by_class
from pyro_vae.cli.stories.labelled import MOST, SUMMED, draw_class
from pyro_vae.cli.stories.story import (
    ALL,
    NUM_SAMPLES,
    Drawn,
    Figures,
    Request,
    Shown,
    Story,
)
from pyro_vae.data import Dataset
from pyro_vae.diagnostics import Picture
from pyro_vae.look import plots
from pyro_vae.look.findings import Finding, Findings

PRIORS = {"normal": pv.Normal, "full-normal": pv.MultivariateNormal}  # of a mixture
COUNT = 10  # clusters of data that have no labels
LINEAR = partial(pv.networks.mlp, hidden=())
TITLE = "means of p(x|z), z drawn from p(z|y): a row for each cluster"


def arrange(config: Config, dataset: Dataset) -> Arranged:
    """x alone. The clusters are numbered from 0."""
    count = config["clusters"]
    if count is None:
        count = COUNT if dataset.labels is None else len(torch.cat(dataset.labels).unique())
    clusters = list(range(check_whole("clusters", count)))

    return Arranged(
        train=(dataset.train,),
        validation=(dataset.validation,),
        test=(dataset.test,),
        classes=Classes(clusters, NONE_KNOWN.splits),
    )


def build(config: Config, data: RunData) -> pv.LabelledVAE:
    """p(y), p(z|y), p(x|z), q(z|x), and the q(y|x) that follows from them."""
    check_choice("prior", config["prior"], PRIORS)
    check_choice("variational", config["variational"], PRIORS)
    parts = Parts(config, data.dataset.splits.values())
    latent, count = check_whole("latent", config["latent"]), data.classes.count

    torch.manual_seed(config["seed"])
    labels = pv.OneHotCategorical(count)
    prior = PRIORS[config["prior"]](latent, given=count, net=LINEAR)
    variational = parts.make_variational(latent, parts.event)
    return pv.LabelledVAE(
        labels=labels,
        prior=prior,
        likelihood=parts.make_likelihood(latent),
        classifier=pv.Responsibilities(labels, prior, variational),
        variational=variational,
    )


def start(config: Config, data: RunData, pair: pv.LabelledVAE, options: dict[str, Any]) -> None:
    """Bring the clusters to where they can be told apart."""
    epochs = check_whole("start_epochs", config["start_epochs"], least=0)
    if epochs:
        print(f"start: a plain VAE for {epochs} epochs, and a mixture on its codes")
        pv.start_clusters(pair, *data.train, epochs=epochs, **options)


def draw(shown: Shown) -> Figures:
    """Data, samples and data of each cluster, and where z lies."""
    pair, (x,) = shown.pair, shown.rows
    reconstructed = pv.reconstruct(pair, x)
    with torch.no_grad():
        q = pair.classifier(x).probs
    order = q.max(-1).values.argsort(descending=True)
    clusters = q.argmax(-1)

    figures = {
        "reconstructions": plots.reconstructions(x[:12], reconstructed["x"][:12]),
        "classes": sample(pair, shown.data, ALL).figure,
        "clusters": plots.classes(
            x[order], clusters[order], title="the test data that belong to each cluster most surely"
        ),
        "cluster_latents": plots.latents(
            reconstructed["z"], clusters, title="draws of q(z|x), coloured by cluster"
        ),
        "latents": plots.latents(reconstructed["z"], shown.labels),
    }
    return figures | drawing.draw_posterior(shown, "z", reconstructed["z"], on_grid=False)


def sample(pair: pv.LabelledVAE, data: RunData, request: Request) -> Drawn:
    """For each cluster y, z ~ p(z|y) and x ~ p(x|z)."""
    return draw_by_class(data.classes, request, partial(draw_class, pair, data), title=TITLE)


def measure(pair: pv.LabelledVAE, data: RunData, rows: Rows, picture: Picture) -> Findings:
    """How far the clusters are the labels of the data, which the pair did not see."""
    if data.dataset.labels is None:
        return {}
    (x,) = rows
    _, labels = data.dataset.labels[2][: len(x)].unique(return_inverse=True)
    num_samples = min(picture.num_samples, MOST)
    found = pv.diagnostics.cluster(pair, x, labels, num_samples=num_samples, progress=False)
    by_q, by_p = found.by_variational, found.by_posterior

    return {
        "The clusters beside the labels": [
            Finding("accuracy of q(y|x)", by_q.accuracy, "clusters and labels matched one to one"),
            Finding("accuracy of p(y|x)", by_p.accuracy, "the same by Bayes' rule"),
            Finding("NMI of p(y|x)", by_p.nmi, "normalised mutual information, at most 1"),
            Finding("ARI of p(y|x)", by_p.ari, "adjusted Rand index, 0 by chance, at most 1"),
        ]
    }


STORY = Story(
    how="--pair labelled --labels 0",
    options={
        "prior": "full-normal",
        "likelihood": "bernoulli",
        "latent": 6,
        "labels": 0,
        "clusters": None,
        "start_epochs": 40,
        "num_samples": NUM_SAMPLES,
    },
    arrange=arrange,
    build=build,
    draw=draw,
    sample=sample,
    measure=measure,
    start=start,
    refused=SUMMED,
    is_refitted=False,
)
