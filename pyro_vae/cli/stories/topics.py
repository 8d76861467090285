"""Topics of documents: a VAE whose decoder mixes topics into words."""

from functools import partial

import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.arguments import check_choice, check_whole
from pyro_vae.cli.data import Rows, RunData
from pyro_vae.cli.parts import Config, Parts
from pyro_vae.cli.stories.story import (
    Drawn,
    Figures,
    Request,
    Shown,
    Story,
    arrange_plainly,
    refuse_given,
)
from pyro_vae.diagnostics import Picture, TopWords, top_words
from pyro_vae.look import plots
from pyro_vae.look.findings import Finding, Findings

WORDS = 10  # of each topic
DOCUMENTS = 20  # that are shown when documents are drawn
ENCODER = partial(pv.networks.mlp, hidden=(100, 100), activation=nn.Softplus)


def build(config: Config, data: RunData) -> pv.VAE:
    """p(h), p(words|h) of topics softmax(h), and q(h|words)."""
    check_choice("likelihood", config["likelihood"], ["multinomial"])
    check_choice("variational", config["variational"], ["normal"])
    x = data.dataset.train
    if x.dim() != 2:
        raise ValueError(
            f"network: topics are of bags of words, counts [n, V], got data [n, "
            f"{', '.join(map(str, x.shape[1:]))}]; take --network mlp or conv"
        )
    latent, words = check_whole("latent", config["latent"], least=2), x.shape[1]
    parts = Parts(config, data.dataset.splits.values())
    length = max(1, round(x.sum(-1).float().mean().item()))

    torch.manual_seed(config["seed"])
    return pv.VAE(
        likelihood=pv.Multinomial(words, given=latent, net=pv.networks.topics, total_count=length),
        variational=pv.Normal(latent, given=words, net=pv.standardised(ENCODER)),
        prior=parts.make_prior(latent),
    )


def draw(shown: Shown) -> Figures:
    """The words of each topic, documents, and where h lies."""
    h = pv.reconstruct(shown.pair, *shown.rows)["z"]
    return {
        "words": plots.top_words(
            find_top_words(shown.pair, shown.data), title="the most probable words of each topic"
        ),
        "samples": _draw(shown.pair, shown.data, DOCUMENTS).figure,
        "latents": plots.latents(h, shown.labels),
    }


def find_top_words(pair: pv.VAE, data: RunData) -> TopWords:
    """The most probable words of each topic."""
    count = min(WORDS, data.dataset.train.shape[1])
    return top_words(pair, data.dataset.vocabulary, n=count)


def sample(pair: pv.VAE, data: RunData, request: Request) -> Drawn:
    """h ~ p(h) and words ~ p(words|h)."""
    refuse_given(request)
    return _draw(pair, data, 100 if request.draws is None else request.draws)


def _draw(pair: pv.VAE, data: RunData, count: int) -> Drawn:
    drawn = pv.simulate(pair, count)
    means = pv.reconstruct(pair, drawn["x"], at={"z": drawn["z"]})["x"]
    words = min(WORDS, means.shape[1])
    shown = top_words(means[:DOCUMENTS], data.dataset.vocabulary, n=words)
    title = "the most probable words of documents, h drawn from p(h)"

    return Drawn(drawn, plots.top_words(shown, title=title))


def measure(pair: pv.VAE, data: RunData, rows: Rows, picture: Picture) -> Findings:
    """How the words of topics keep together, how distinct they are, and perplexity."""
    (x,) = rows
    # few documents hold few pairs of words, so NPMI takes all of the test data
    documents = data.dataset.test
    top = find_top_words(pair, data)
    findings = {
        "NPMI": (pv.diagnostics.topic_coherence(top, documents), "of top words, in all test data"),
        "distinct words": (pv.diagnostics.topic_diversity(top), "the share among all top words"),
        "perplexity": (pv.diagnostics.perplexity(picture.elbo, x), "by the ELBO, at most"),
    }
    print(f"\n{top}")
    return {"Topics": [Finding(name, *found) for name, found in findings.items()]}


STORY = Story(
    how="--network topics",
    options={
        "prior": "approximate-dirichlet",
        "likelihood": "multinomial",
        "latent": 20,
        "num_samples": 100,
    },
    arrange=arrange_plainly,
    build=build,
    draw=draw,
    sample=sample,
    measure=measure,
)
