import json
from pathlib import Path

import pytest

from pyro_vae.cli import settings
from pyro_vae.cli.stories import OWN_OPTIONS

OPTIONS = {
    "pair": "vae",
    "objective": "elbo",
    "data": "digits",
    "network": "mlp",
    "epochs": 3,
    "seed": 0,
}
OPTIONS |= dict.fromkeys(OWN_OPTIONS) | {"latent": 2}
SETTLED = OPTIONS | {"prior": "standard-normal", "likelihood": "bernoulli", "num_samples": 1000}


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """The folder of a run, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    Path("begun").mkdir()
    Path("begun/config.json").write_text(json.dumps(OPTIONS))
    return Path("begun")


def test_a_new_run_has_a_free_folder_and_all_options(begun):
    run, config = settings.begin(OPTIONS, None)
    assert run.folder == Path("runs/digits") and config == SETTLED


def test_a_path_to_data_holds_from_every_folder(begun):
    run, config = settings.begin(OPTIONS | {"data": "own.npy"}, None)
    assert config["data"] == str(Path.cwd() / "own.npy") and run.folder == Path("runs/own")

    (begun / "config.json").write_text(json.dumps(config))
    assert settings.go_on({"data": "own.npy"}, begun).config["data"] == config["data"]


def test_a_run_goes_on_with_what_may_change(begun):
    run, config = settings.go_on({"epochs": 9, "latent": 2}, begun)
    assert run.folder == begun and config["epochs"] == 9 and config["latent"] == 2


@pytest.mark.parametrize(
    "plan, options, said",
    [
        (settings.begin, OPTIONS, "out: begun already holds a run; go on with --resume"),
        (settings.go_on, {"latent": 5}, "latent: the run in begun has 2, got 5; leave it out"),
        (settings.go_on, {"data": "own.npy"}, "data: the run in begun has 'digits', got '/"),
    ],
)
def test_what_a_folder_does_not_allow(begun, plan, options, said):
    with pytest.raises(ValueError, match=said):
        plan(options, begun)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"pair": "hierarchical"}, {"levels": "16,8", "order": "bottom-up"}),
        ({"pair": "labelled", "labels": 7}, {"labels": 7, "label_weight": 50.0, "levels": None}),
        ({"pair": "vae", "condition": "labels"}, {"condition": "labels", "labels": None}),
    ],
)
def test_a_pair_has_defaults_of_its_own(begun, options, expected):
    config = settings.begin(OPTIONS | {"latent": None} | options, None).config
    assert {name: config[name] for name in expected} == expected


@pytest.mark.parametrize(
    "options, said",
    [
        (
            {"labels": 7},
            "labels: it goes with --pair labelled, --pair multimodal, .*, got --pair vae",
        ),
        ({"levels": "4"}, "levels: it goes with --pair hierarchical, got --pair vae"),
        (
            {"pair": "hierarchical"},
            "latent: it goes with --pair vae, --pair labelled, .*, got --pair hie",
        ),
        (
            {"pair": "multimodal", "condition": "labels"},
            "condition: it goes with --pair vae, .*, got",
        ),
        (
            {"pair": "labelled", "clusters": 5},
            "clusters: it goes with --pair labelled --labels 0, g",
        ),
        ({"pair": "labelled", "labels": 0, "label_weight": 2.0}, "label_weight: .*--labels 0$"),
        (
            {"pair": "labelled", "objective": "mmd"},
            "objective: mmd does not go with --pair labelled: y is summed over, .* Take one of "
            "elbo, importance-weighted, renyi, miwae, ciwae",
        ),
        ({"pair": "gan"}, "pair: unknown name 'gan'; known are vae, hierarchical"),
    ],
)
def test_an_option_of_another_pair(begun, options, said):
    with pytest.raises(ValueError, match=said):
        settings.begin(OPTIONS | options, None)


def test_to_go_on_takes_a_folder():
    with pytest.raises(ValueError, match="resume: say which run, with --out"):
        settings.go_on({}, None)
