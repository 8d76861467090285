import json

import pytest
import torch
import typer

import pyro_vae as pv
from pyro_vae.cli import parts, steps
from pyro_vae.cli.data import NONE, RunData
from pyro_vae.cli.runs import Run
from tests.commands import CONFIG


@pytest.fixture
def planned(tmp_path):
    """A run, its data, its pair and its objective."""
    x = torch.randn(30, 3)
    data = RunData(pv.data.Dataset(x, x, x, None, ""), NONE)
    pair = parts.build_pair(CONFIG, data.dataset)
    run = Run(tmp_path)
    run.write_config(CONFIG)
    return run, data, pair, parts.build_objective(CONFIG, pair, 30)


def test_a_pair_is_trained_and_measured(planned, capsys):
    run, data, pair, objective = planned
    history = steps.fit(run, CONFIG, data, pair, objective, resume=False)
    picture = steps.measure(run, CONFIG, data, pair, rows=7, effort={"num_samples": 20})
    written = json.loads((run.folder / "picture.json").read_text())

    assert len(history.loss) == 1 and run.checkpoint.exists()
    assert written["data"] == 7 and written["num_samples"] == 20 and written["split"] == "test"
    assert capsys.readouterr().out == f"test split of own, binarisation: none\n{picture}\n"


def test_a_run_that_cannot_start_is_set_free_unless_it_goes_on(planned):
    run, data, pair, objective = planned
    wrong = CONFIG | {"batch_size": 0}
    for resume in (True, False):
        assert run.is_begun
        with pytest.raises(ValueError, match="batch_size"):
            steps.fit(run, wrong, data, pair, objective, resume=resume)
    assert not run.is_begun


def test_what_cannot_be_compiled_is_a_matter_of_compile(planned, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("line 3: no")

    run, data, pair, objective = planned
    monkeypatch.setattr(pv, "fit", fail)
    with pytest.raises(ValueError, match=r"^compile: line 3: no"):
        steps.fit(run, CONFIG | {"compile": True}, data, pair, objective, resume=True)
    with pytest.raises(RuntimeError, match="line 3: no"):
        steps.fit(run, CONFIG, data, pair, objective, resume=True)


def test_ctrl_c_says_how_to_go_on(planned, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt("stopped in epoch 3, step 1; go on with fit(...)")

    run, data, pair, objective = planned
    monkeypatch.setattr(pv, "fit", stop)
    with pytest.raises(typer.Exit) as caught:
        steps.fit(run, CONFIG, data, pair, objective, resume=False)

    said = f"stopped in epoch 3, step 1; go on with: pyro-vae train --resume --out {run.folder}"
    assert caught.value.exit_code == 130 and capsys.readouterr().err.strip() == said


def test_efforts_grow():
    samples = [steps.EFFORTS[name]["num_samples"] for name in ("quick", "normal", "thorough")]
    assert samples == sorted(samples) and steps.EFFORTS.keys() == steps.ROWS.keys()
