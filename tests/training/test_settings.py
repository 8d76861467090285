"""Arguments that do not fit."""

import os

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.training.settings import check_device
from tests.runs import RUN, X, equal, make


def test_checkpoint_that_exists_is_not_overwritten(tmp_path):
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(ValueError, match="already holds a run; go on with resume=True"):
        pv.fit(make(), X, **RUN, checkpoint=path)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs: expected a positive whole number, got 0"),
        ({"epochs": -1}, "epochs: expected a positive whole number, got -1"),
        ({"batch_size": 0}, "batch_size: .* got 0"),
        ({"batch_size": -3}, "batch_size: .* got -3"),
        ({"learning_rate": 0}, "learning_rate: expected a positive number, got 0"),
        ({"learning_rate": -1e-3}, "learning_rate: .* got -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate: .* got nan"),
        ({"patience": 0, "validation": X}, "patience: .* got 0"),
        ({"patience": -2, "validation": X}, "patience: .* got -2"),
        ({"patience": 3}, "patience: early stopping compares .* pass validation="),
        ({"resume": True}, "resume: pass the checkpoint="),
        ({"objective": pv.Objective(make())}, "objective: it was made of another pair"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        pv.fit(make(), X, **(RUN | options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 1.5}, "epochs: expected a positive whole number, got 1.5"),
        ({"batch_size": True}, "batch_size: expected a positive whole number, got True"),
        ({"learning_rate": "fast"}, "learning_rate: .* got 'fast'"),
        ({"patience": 2.0, "validation": X}, "patience: .* got 2.0"),
    ],
)
def test_arguments_of_a_wrong_type(options, words):
    with pytest.raises(TypeError, match=words):
        pv.fit(make(), X, **(RUN | options))


def test_whole_numbers_of_numpy_are_welcome(tmp_path):
    options = RUN | {"epochs": np.int64(2), "batch_size": np.int32(12)}
    history = pv.fit(make(), X, checkpoint=tmp_path / "run", **options)
    assert len(history.loss) == 2


def test_numbers_of_numpy_are_kept_as_pythons_own(tmp_path):
    numbers = {"seed": np.int64(3), "learning_rate": np.float32(0.01), "checkpoint_every": 0}
    path = tmp_path / "run"
    pv.fit(make(), X, checkpoint=path, **(RUN | numbers))
    pv.fit(make(), X, checkpoint=path, resume=True, **(RUN | numbers | {"seed": 3}))


def test_a_device_that_is_not_there():
    check_device("cpu")
    with pytest.raises(ValueError, match=r"^device: cannot use 'nope', there is cpu"):
        check_device("nope")


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
def test_training_takes_gradients(switched_off):
    with switched_off(), pytest.raises(ValueError, match=r"call fit outside of torch.no_grad\(\)"):
        pv.fit(make(), X, **RUN)


def test_a_bound_is_made_an_objective():
    ours, theirs = make(), make()
    pv.fit(ours, X, **RUN, objective=pv.ImportanceWeighted(3))
    pv.fit(theirs, X, **RUN, objective=pv.Objective(theirs, pv.ImportanceWeighted(3)))
    assert equal(ours, theirs) and not equal(ours, make())


def a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


def read_only(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    if os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write anywhere")
    return tmp_path / "closed"


@pytest.mark.parametrize("parent", [lambda tmp_path: tmp_path / "none", a_file, read_only])
def test_folder_that_cannot_be_written_to(parent, tmp_path):
    with pytest.raises(ValueError, match="cannot write to the folder"):
        pv.fit(make(), X, **RUN, checkpoint=parent(tmp_path) / "run.safetensors")
