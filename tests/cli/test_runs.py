import json
from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.cli.runs import ADDED, Run, find_free, writing
from tests.commands import QUICK

HISTORY = pv.History([3.0, 2.5], [-3.0, -2.5], [-2.0, -1.5], [1.0, 1.0], [0.1, 0.2], [3.0, 2.5])


def test_the_configuration_and_the_history_are_read_as_they_were_written(tmp_path):
    run = Run(tmp_path / "a" / "b")
    assert not run.is_begun
    run.write_config(ADDED | {"latent": 2, "scale": None})
    run.write_history(HISTORY)

    assert run.is_begun
    assert run.read_config() == ADDED | {"latent": 2, "scale": None}
    assert run.read_history() == HISTORY


def test_options_of_a_later_version_are_as_they_were(tmp_path):
    run = Run(tmp_path)
    run.config.write_text('{"latent": 2, "draws": 7}')
    assert run.read_config() == ADDED | {"latent": 2, "draws": 7}


def test_a_run_that_trained_nothing_is_set_free(tmp_path):
    run = Run(tmp_path)
    run.write_config({})
    run.checkpoint.write_bytes(b"state")
    run.set_free()
    assert run.is_begun

    run.checkpoint.unlink()
    run.set_free()
    assert not run.is_begun


def enter(run, is_new=True):
    with run.training(is_new):
        pass


def test_one_run_at_a_time_trains_in_a_folder(tmp_path):
    run = Run(tmp_path / "a")
    with run.training(is_new=True), pytest.raises(ValueError, match="out: another run trains"):
        enter(run)
    assert not run.folder.exists()

    run.write_config({})
    (run.folder / ".00000000.part.config.json").mkdir()
    with pytest.raises(ValueError, match=r"^out: .*a already holds a run; go on with --resume"):
        enter(run)
    enter(run, is_new=False)
    assert [path.name for path in run.folder.iterdir()] == ["config.json"]


def test_a_run_that_has_just_begun_has_its_folder_for_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with find_free("own.npy").training(is_new=True):
        assert str(find_free("own.npy").folder) == "runs/own-2"
    assert str(find_free("own.npy").folder) == "runs/own"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("old", [None, '{"latent": 3}'])
def test_a_configuration_is_written_whole_or_not_at_all(old, tmp_path, monkeypatch):
    run = Run(tmp_path)
    if old is not None:
        run.config.write_text(old)

    def fill_up(path, text):
        path.open("w").write(text[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fill_up)
    with pytest.raises(ValueError, match=r"^out: cannot write to .*No space left on device"):
        run.write_config({"latent": 2})
    monkeypatch.undo()
    assert [path.read_text() for path in tmp_path.iterdir()] == ([old] if old else [])


def test_free_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        run = find_free("/some/where/own.npy")
        run.write_config({})
        names.append(str(run.folder))
    assert names == ["runs/own", "runs/own-2", "runs/own-3"]


@pytest.mark.parametrize(
    "content, said",
    [(None, "holds no config.json, so it is not the folder"), ("{", "cannot read .*config.json")],
)
def test_a_configuration_that_cannot_be_read(tmp_path, content, said):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=f"^run: .*{said}"):
        Run(tmp_path).read_config()


@pytest.mark.parametrize("content", [None, "epoch,loss\n1,2\n", "epoch,loss\n1,\n"])
def test_metrics_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(ValueError, match=r"^run: cannot read .*metrics.csv"):
        Run(tmp_path).read_history()


def test_a_folder_that_cannot_be_written_to(tmp_path):
    said = r"^out: cannot write to here \(No space left on device\); choose another folder"
    with pytest.raises(ValueError, match=said), writing(Path("here")):
        raise OSError(28, "No space left on device")


def test_a_run_of_an_earlier_version_goes_on(call, tmp_path):
    call("train", *QUICK)
    path = tmp_path / "runs" / "digits" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in ADDED}))
    code, _, err = call("train", "--resume", "--out", "runs/digits", "--epochs", 3)
    assert code == 0, err
    code, _, err = call("train", "--resume", "--out", "runs/digits", "--objective", "mmd")
    assert code == 2 and "objective: the run in runs/digits has 'elbo', got 'mmd'" in err
