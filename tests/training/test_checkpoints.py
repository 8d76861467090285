"""Files of weights and states."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import pyro_vae as pv
from pyro_vae.training.checkpoints import load_weights, save_weights
from tests.runs import RUN, X, equal, handwritten, make, vamp, weights


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def truncate_to_header(path):
    path.write_bytes(path.read_bytes()[:100])


def randomise(path):
    path.write_bytes(np.random.RandomState(0).bytes(5000))


def strip(path):
    save_weights(make(), path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "is not a whole safetensors file"),
        (truncate_to_header, "truncated, corrupted or of another kind"),
        (randomise, "truncated, corrupted or of another kind"),
        (lambda path: path.write_bytes(b""), "truncated, corrupted or of another kind"),
        (lambda path: torch.save(torch.ones(3), path), r"pickles are never opened"),
        (strip, "holds weights, but no state of a run"),
        (lambda path: save_file({"a": torch.ones(3)}, path), "no state of a run"),
    ],
)
def test_damaged_checkpoint(damage, words, tmp_path):
    path, pair = tmp_path / "run.safetensors", make()
    pv.fit(pair, X, **(RUN | {"epochs": 1}), checkpoint=path)
    damage(path)
    before = weights(pair)
    with pytest.raises(ValueError, match=words):
        pv.fit(pair, X, **RUN, checkpoint=path, resume=True)
    assert equal(pair, before)


def test_pickle_in_place_of_a_checkpoint_does_not_run(tmp_path):
    path, marker = tmp_path / "run", tmp_path / "it ran"
    torch.save(Payload(marker), path)
    for read in (
        lambda: pv.fit(make(), X, **RUN, checkpoint=path, resume=True),
        lambda: load_weights(make(), path),
    ):
        with pytest.raises(ValueError, match="pickles are never opened"):
            read()
    assert not marker.exists()

    torch.load(path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("build", [make, vamp, handwritten])
def test_weights_are_saved_and_loaded(build, tmp_path):
    pair, read = build(seed=0), build(seed=1)
    pv.fit(pair, X, **RUN)
    save_weights(pair, tmp_path / "weights")
    assert not equal(pair, read)
    load_weights(read, tmp_path / "weights")

    assert equal(pair, read)
    assert not list(tmp_path.glob("*.part"))
    if build is vamp:
        assert read.prior.variational is read.variational


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("build", [make, vamp])
def test_weights_are_read_from_a_checkpoint(build, weighted, tmp_path):
    pair, read = build(seed=0), build(seed=1)
    objective = pv.KLWeight(pv.Objective(pair), 0.5) if weighted else None
    pv.fit(pair, X, **RUN, objective=objective, checkpoint=tmp_path / "run")
    load_weights(read, tmp_path / "run")
    assert equal(pair, read)


def test_weights_of_a_part_are_saved_alone(tmp_path):
    pair, read = make(seed=0), make(seed=1)
    decoder = weights(read.likelihood)
    save_weights(pair.variational, tmp_path / "encoder")
    load_weights(read.variational, tmp_path / "encoder")
    assert equal(pair.variational, read.variational) and equal(read.likelihood, decoder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "there is no file .*none"),
        ("other", "is of another pair"),
        ("junk", "not a whole safetensors file"),
    ],
)
def test_weights_that_cannot_be_loaded(name, words, tmp_path):
    save_weights(make(event=4), tmp_path / "other")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(ValueError, match=words):
        load_weights(make(), tmp_path / name)


class Around(nn.Module):
    """An objective of a user, who names things in his own way and holds a part beside the pair."""

    def __init__(self, pair):
        super().__init__()
        self.encoder = pair.variational
        self.inside = nn.ModuleDict({"vae": pair})
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, *data):
        return pv.Objective(self.inside["vae"])(*data) + self.offset.square()


def test_weights_are_read_whatever_the_objective_calls_its_pair(tmp_path):
    pair, read = make(seed=0), make(seed=1)
    pv.fit(pair, X, **RUN, objective=Around(pair), checkpoint=tmp_path / "run")
    load_weights(read, tmp_path / "run")
    assert equal(pair, read)
