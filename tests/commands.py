"""The command line, called as from a shell."""

import sys

import pytest

import pyro_vae as pv
from pyro_vae import cli
from pyro_vae.cli.data import NONE, RunData
from pyro_vae.cli.runs import ADDED
from pyro_vae.cli.stories import choose_story

# the settings of a short run, as a run folder keeps them
CONFIG = {
    **ADDED,
    "prior": "standard-normal",
    "likelihood": "normal",
    "variational": "normal",
    "network": "mlp",
    "latent": 2,
    "components": 3,
    "scale": None,
    "beta": 1.0,
    "epochs": 1,
    "batch_size": 10,
    "learning_rate": 1e-3,
    "patience": None,
    "seed": 0,
    "device": "cpu",
    "data": "own",
    "binarisation": NONE,
    "num_samples": 20,
}

QUICK = ("--epochs", 2, "--batch-size", 256, "--num-samples", 50)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command line in an empty folder: its exit code, its output and its error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pyro-vae", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return run


def arrange(config, x, test=None, labels=None, lengths=None):
    """Data as the pair of a configuration takes them, the same in all splits but the test split."""
    y = None if labels is None else (labels, labels, labels)
    steps = None if lengths is None else (lengths, lengths, lengths)
    test = x if test is None else test
    dataset = pv.data.Dataset(x, x, test, y, "", lengths=steps)
    arranged = choose_story(config).arrange(config, dataset)
    return RunData(**vars(arranged), dataset=dataset, binarisation=NONE)


def build(config, data):
    """The pair of a configuration."""
    return choose_story(config).build(config, data)
