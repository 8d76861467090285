"""Files of weights and states."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import pyro_vae as pv
from pyro_vae.training.checkpoints import (
    list_tensors,
    load_weights,
    read_tree,
    save_weights,
    sum_up,
)
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


@pytest.mark.parametrize("read", [read_tree, lambda path: load_weights(make(), path)])
def test_every_flipped_bit_is_noticed(read, tmp_path):
    path = tmp_path / "run"
    pv.fit(make(), X, **(RUN | {"epochs": 1}), checkpoint=path)
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*generator.integers(0, 8 * header, 50), *generator.integers(0, 8 * len(whole), 50)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=f"^checkpoint: {path} is not a whole"):
            read(path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int8, torch.bool])
def test_a_sum_sees_every_type(dtype):
    a, b = torch.zeros(3, 0, dtype=dtype), torch.ones((), dtype=dtype)
    assert sum_up({"a": a, "b": b}, "") != sum_up({"a": a, "b": torch.zeros_like(b)}, "")
    assert sum_up({"b": b, "a": a}, "") == sum_up({"a": a, "b": b}, "")


def test_equal_weights_give_equal_files(tmp_path):
    for name in "abcd":
        save_weights(make(), tmp_path / name)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_file_without_a_checksum_is_read(tmp_path):
    pair, read, path = make(seed=0), make(seed=1), tmp_path / "weights"
    save_file(list_tensors(pair), path, metadata={"pyro_vae": "{}"})
    load_weights(read, path)
    assert equal(pair, read)


NESTED = "[" * 100_000


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ('{"weights": {"$tensor": "none"}}', "name a tensor 'none', which it does not hold"),
        ('{"weights": {"$tensor": [1]}}', r"name a tensor \[1\], which it does not hold"),
        ("[1]", "its notes are no tree"),
        ('{"weights": 3}', "no weights"),
        ('{"best": {"weights": 3}}', "no weights"),
        (NESTED, "not a whole safetensors file"),
    ],
)
def test_crafted_notes(notes, words, tmp_path):
    save_file({"a": torch.ones(3)}, tmp_path / "crafted", metadata={"pyro_vae": notes})
    with pytest.raises(ValueError, match=words):
        load_weights(make(), tmp_path / "crafted")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    pair, path = make(seed=0), tmp_path / "weights"

    def fill_up(tensors, half, metadata):
        Path(half).write_bytes(b"half")
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("pyro_vae.training.checkpoints.save_file", fill_up)
    with pytest.raises(OSError, match=r"cannot write .*No space left.*no file is left there"):
        save_weights(pair, path)
    assert not list(tmp_path.iterdir())

    monkeypatch.undo()
    save_weights(pair, path)
    monkeypatch.setattr("pyro_vae.training.checkpoints.save_file", fill_up)
    with pytest.raises(OSError, match=r"the file that was there is still whole.*Make room"):
        save_weights(make(seed=1), path)
    monkeypatch.undo()
    read = make(seed=2)
    load_weights(read, path)
    assert equal(pair, read) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["", "none/weights"])
def test_weights_are_not_saved_where_no_file_can_be(name, tmp_path):
    with pytest.raises(OSError, match="cannot write"):
        save_weights(make(), tmp_path / name)
    assert not list(tmp_path.iterdir())


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
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
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


def test_tensors_of_any_layout_are_saved(tmp_path):
    module = nn.Module()
    for i, t in enumerate([torch.tensor(2.0).expand(1), torch.ones(3).expand(2, 3), X.T]):
        module.register_buffer(f"b{i}", t)
    save_weights(module, tmp_path / "weights")
    assert all(
        torch.equal(t, getattr(module, n)) for n, t in load_file(tmp_path / "weights").items()
    )


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
