"""Every pair of the command line goes through one contract: built, trained, drawn, measured."""

import math
from dataclasses import replace

import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.objectives import build_objective
from pyro_vae.cli.stories import OWN_OPTIONS, PAIRS, choose_story
from pyro_vae.cli.stories.story import Request, Shown
from tests.commands import CONFIG, arrange, build
from tests.data.test_table import make_frame

ROWS = 24
# what is said of each pair, the options that it is made with, and its figures
CASES = {
    "vae": ({"latent": 2}, {"reconstructions", "samples", "latents", "posterior", "decoded_grid"}),
    "conditional": (
        {"condition": "labels", "latent": 3},
        {"reconstructions", "classes", "latents"},
    ),
    "hierarchical": (
        {"pair": "hierarchical", "levels": "4,3,2"},
        {"reconstructions", "samples", "levels", "latents-z1", "latents-z2", "latents-z3"},
    ),
    "top-down": (
        {"pair": "hierarchical", "levels": "3,2", "order": "top-down"},
        {"reconstructions", "samples", "levels", "latents-z1", "latents-z2"},
    ),
    "labelled": (
        {"pair": "labelled", "labels": 6, "latent": 2},
        {"reconstructions", "classes", "latents"},
    ),
    "clusters": (
        {"pair": "labelled", "labels": 0, "latent": 2, "start_epochs": 1},
        {"reconstructions", "classes", "clusters", "cluster_latents", "latents"},
    ),
    "topics": ({"network": "topics", "latent": 3}, {"words", "samples", "latents"}),
    "sequence": (
        {"pair": "sequence", "latent": 2},
        {"reconstructions", "samples", "latents"},
    ),
    "multimodal": (
        {"pair": "multimodal", "labels": 12, "latent": 3},
        {"reconstructions", "cross", "latents"},
    ),
    "table": ({"pair": "table", "latent": 2}, {"columns", "latents"}),
}


def settle(**options):
    """A configuration with the defaults of its pair."""
    config = CONFIG | dict.fromkeys(OWN_OPTIONS) | options
    own = choose_story(config).options
    return config | {name: own[name] for name in own if config[name] is None}


def prepare(options):
    config = settle(**{"likelihood": None, **options})
    torch.manual_seed(0)
    x = torch.bernoulli(torch.full((ROWS, 1, 4, 4), 0.5))
    lengths = torch.arange(ROWS) % 4 + 1
    if config["pair"] == "sequence":
        x = x.squeeze(1)
    if config["network"] == "topics":
        x = x.flatten(1)
    table = pv.data.table(make_frame(ROWS)) if config["pair"] == "table" else None
    if table is not None:
        x = table.x
    data = arrange(config, x, labels=torch.arange(ROWS) % 3, lengths=lengths)
    data = replace(data, dataset=data.dataset._replace(table=table))
    return config, data, build(config, data)


@pytest.mark.parametrize("name", CASES)
def test_a_pair_is_built_trained_drawn_measured_and_sampled(name):
    options, expected = CASES[name]
    config, data, pair = prepare(options)
    story = choose_story(config)
    objective = build_objective(config, pair, ROWS)
    story.start(config, data, pair, {"seed": 0, "progress": False})
    pv.fit(
        pair,
        *data.train,
        validation=data.validation,
        objective=objective,
        epochs=1,
        seed=0,
        progress=False,
    )

    figures = story.draw(Shown(pair, data.test, data.dataset.labels[2], data, None))
    assert set(figures) == expected

    picture = pv.diagnostics.picture(pair, *data.test, num_samples=5, progress=False)
    findings = story.measure(pair, data, data.test, picture)
    numbers = [finding.number for group in findings.values() for finding in group]
    assert all(math.isfinite(number.value) and number.stderr >= 0 for number in numbers)
    assert bool(numbers) == (name not in ("vae", "table"))

    drawn = story.sample(pair, data, Request(draws=2, given=None)).values
    assert {len(value) for value in drawn.values()} == {2 * max(1, data.classes.count)}


@pytest.mark.parametrize("name", CASES)
def test_the_seed_gives_the_weights(name):
    one, two = (prepare(CASES[name][0])[2].state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("vae", "conditional")])
def test_a_vamp_prior_is_of_a_q_of_x_alone(name):
    with pytest.raises(ValueError, match=r"^prior: (a vamp prior|expected|unknown)"):
        prepare(CASES[name][0] | {"prior": "vamp"})


@pytest.mark.parametrize("name", ["conditional", "labelled", "clusters", "multimodal"])
def test_classes_that_are_asked_for(name):
    config, data, pair = prepare(CASES[name][0])
    sample = choose_story(config).sample
    drawn = sample(pair, data, Request(draws=3, given=[2, 0])).values
    assert drawn["y"].tolist() == [2, 2, 2, 0, 0, 0]
    with pytest.raises(ValueError, match="given: expected some of the labels 0, 1, 2, got 7"):
        sample(pair, data, Request(draws=3, given=[7]))


@pytest.mark.parametrize("name", ["vae", "hierarchical"])
def test_classes_that_a_pair_does_not_know(name):
    config, data, pair = prepare(CASES[name][0])
    with pytest.raises(ValueError, match="given: the pair of this run knows no classes"):
        choose_story(config).sample(pair, data, Request(draws=3, given=[1]))


def test_all_pairs_have_a_case():
    assert {options.get("pair", "vae") for options, _ in CASES.values()} == set(PAIRS)
