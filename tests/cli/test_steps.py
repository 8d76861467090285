import json

import pytest
import torch
import typer

import pyro_vae as pv
from pyro_vae.cli import steps
from pyro_vae.cli.objectives import build_objective
from pyro_vae.cli.runs import Run
from pyro_vae.cli.steps import Job
from pyro_vae.cli.stories import PAIRS, choose_story
from tests.commands import CONFIG, arrange, build


@pytest.fixture
def planned(tmp_path):
    """A run that is begun, and its objective."""
    data = arrange(CONFIG, torch.randn(30, 3))
    pair = build(CONFIG, data)
    run = Run(tmp_path)
    run.write_config(CONFIG)
    job = Job(run, CONFIG, choose_story(CONFIG), data, pair)
    return job, build_objective(CONFIG, pair, 30)


def test_a_pair_is_trained_and_measured(planned, capsys):
    job, objective = planned
    history = steps.fit(job, objective, resume=False)
    picture, verdict, findings = steps.measure(job, rows=7, effort={"num_samples": 20})
    written = json.loads((job.run.folder / "picture.json").read_text())

    assert len(history.loss) == 1 and job.run.checkpoint.exists() and not findings
    assert written["data"] == 7 and written["num_samples"] == 20 and written["split"] == "test"
    assert written["verdict"] == verdict and verdict.startswith("It did not work")
    shown = f"{verdict}\n\ntest split of own, binarisation: none\n{picture}\n"
    assert capsys.readouterr().out == shown


def test_a_run_that_cannot_start_is_set_free_unless_it_goes_on(planned):
    job, objective = planned
    wrong = job._replace(config=CONFIG | {"batch_size": 0})
    for resume in (True, False):
        assert job.run.is_begun
        with pytest.raises(ValueError, match="batch_size"):
            steps.fit(wrong, objective, resume=resume)
    assert not job.run.is_begun


def test_what_cannot_be_compiled_is_a_matter_of_compile(planned, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("line 3: no")

    job, objective = planned
    monkeypatch.setattr(pv, "fit", fail)
    with pytest.raises(ValueError, match=r"^compile: line 3: no"):
        steps.fit(job._replace(config=CONFIG | {"compile": True}), objective, resume=True)
    with pytest.raises(RuntimeError, match="line 3: no"):
        steps.fit(job, objective, resume=True)


def test_ctrl_c_says_how_to_go_on(planned, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt("stopped in epoch 3, step 1; go on with fit(...)")

    job, objective = planned
    monkeypatch.setattr(pv, "fit", stop)
    with pytest.raises(typer.Exit) as caught:
        steps.fit(job, objective, resume=False)

    said = f"stopped in epoch 3, step 1; go on with: pyro-vae train --resume --out {job.run.folder}"
    assert caught.value.exit_code == 130 and capsys.readouterr().err.strip() == said


def test_efforts_grow():
    samples = [steps.EFFORTS[name]["num_samples"] for name in ("quick", "normal", "thorough")]
    assert samples == sorted(samples) and steps.EFFORTS.keys() == steps.ROWS.keys()


def test_a_pair_whose_q_cannot_be_refitted_is_measured_without():
    assert "refit_steps" in steps.choose_effort(PAIRS["vae"], "normal", None)
    assert "refit_steps" not in steps.choose_effort(PAIRS["labelled"], "normal", None)
    assert steps.choose_effort(PAIRS["vae"], "normal", 7)["num_samples"] == 7
