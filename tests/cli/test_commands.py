import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import pyro_vae as pv
from pyro_vae.cli import commands, parts
from pyro_vae.cli.objectives import OBJECTIVES
from pyro_vae.cli.runs import Run
from pyro_vae.cli.stories import PAIRS
from tests.commands import QUICK

RUN = ("--out", "run")


def test_train_measure_plot_sample(call, tmp_path):
    code, out, _ = call("train", *QUICK)
    assert code == 0
    assert (
        "log p(x)" in out
        and "KL(q(z|x) ‖ p(z|x))" in out
        and "q(z|x) = Normal((2,) | (1, 8, 8))" in out
    )
    run = tmp_path / "runs" / "digits"
    figures = {
        "history",
        "reconstructions",
        "samples",
        "latents",
        "posterior",
        "decoded_grid",
        "calibration",
    }
    assert {p.stem for p in (run / "figures").glob("*.png")} == figures
    config = json.loads((run / "config.json").read_text())
    assert (
        config["epochs"] == 2
        and config["event_shape"] == [1, 8, 8]
        and config["binarisation"].startswith("dynamic")
    )
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
    first = json.loads((run / "picture.json").read_text())
    assert first["split"] == "test" and first["data"] == 300 and first["num_samples"] == 50

    code, out, _ = call("measure", "runs/digits", "--quick", "--num-samples", 200)
    again = json.loads((run / "picture.json").read_text())
    assert code == 0 and "200 draws" in out and again["num_samples"] == 200
    one, two = (seen["terms"]["ELBO"] for seen in (first, again))
    assert abs(one["mean"] - two["mean"]) < 5 * (one["stderr"] + two["stderr"])

    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(figures)
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert "I_q(x; z)" in page and "approximation" not in page

    code, out, err = call("measure", "runs/digits", "--rows", 3)
    assert (
        code == 0 and "approximation" in out and "amortisation" in out and "by annealing" in out
    ), err

    for png in (run / "figures").glob("*.png"):
        png.unlink()
    code, out, _ = call("plot", "runs/digits")
    assert code == 0 and {p.stem for p in (run / "figures").glob("*.png")} == figures - {
        "calibration"
    }

    code, out, _ = call("sample", "runs/digits", "--count", 7)
    drawn = np.load(run / "samples.npz")
    assert code == 0 and drawn["x"].shape == (7, 1, 8, 8) and drawn["z"].shape == (7, 2)
    assert set(np.unique(drawn["x"])) <= {0, 1} and (run / "samples.png").exists()


def test_a_second_run_gets_a_folder_of_its_own_unless_one_is_named(call, tmp_path):
    assert call("train", *QUICK)[0] == call("train", *QUICK)[0] == 0
    assert (tmp_path / "runs" / "digits-2" / "weights.safetensors").exists()
    code, _, err = call("train", *QUICK, "--out", "runs/digits")
    assert code == 2 and "already holds a run" in err and "--resume" in err


@pytest.mark.parametrize(
    "arguments",
    [
        (
            "--prior",
            "student-t",
            "--objective",
            "importance-weighted",
            "--draws",
            3,
            "--precision",
            "bf16",
        ),
        ("--prior", "uniform-sphere", "--variational", "von-mises-fisher", "--latent", 3),
        (
            "--prior",
            "bernoulli",
            "--variational",
            "bernoulli",
            "--latent",
            5,
            "--objective",
            "vimco",
        ),
        (
            "--prior",
            "vamp",
            "--variational",
            "full-normal",
            "--objective",
            "analytic-kl",
            "--compile",
        ),
    ],
)
def test_swaps_train_and_are_measured_and_drawn(call, tmp_path, arguments):
    code, out, err = call("train", *QUICK, *arguments)
    assert code == 0, err
    assert "log p(x)" in out and (tmp_path / "runs" / "digits" / "figures" / "latents.png").exists()
    config = json.loads((tmp_path / "runs" / "digits" / "config.json").read_text())
    assert config["compile"] is ("--compile" in arguments)


def test_own_counts_with_a_likelihood_that_is_no_image(call, tmp_path):
    torch.save(torch.poisson(torch.full((60, 5), 2.0)), tmp_path / "own.pt")
    code, _, err = call(
        "train",
        *QUICK,
        "--data",
        "own.pt",
        "--likelihood",
        "poisson",
        "--prior",
        "vamp",
        "--latent",
        1,
    )
    assert code == 0, err
    assert (tmp_path / "runs" / "own" / "figures" / "posterior.png").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--data", "nothing"), "neither a file or folder nor one of digits, mnist"),
        (("--prior", "nothing"), "prior: unknown name 'nothing'; known are standard-normal"),
        (("--likelihood", "nothing"), "likelihood: unknown name 'nothing'; known are bernoulli"),
        (("--variational", "nothing"), "variational: unknown name 'nothing'; known are normal"),
        (
            ("--objective", "nothing"),
            "objective: unknown name 'nothing'; known are elbo, analytic-kl",
        ),
        (
            ("--objective", "vimco", "--draws", "1"),
            "--draws: leaving one draw out takes at least 2, got 1",
        ),
        (
            ("--objective", "importance-weighted", "--draws", "0"),
            "--draws: expected a positive whole number, got 0",
        ),
        (("--precision", "fp8"), "--precision: expected 'bf16', got 'fp8'"),
        (("--prior", "dirichlet"), "the supports of z differ"),
        (
            ("--variational", "full-normal", "--objective", "free-bits", "--compile"),
            "compile: line",
        ),
        (("--network", "nothing"), "network: unknown name 'nothing'; known are mlp, conv"),
        (("--latent", "0"), "latent: expected a positive whole number"),
        (("--epochs", "0"), "epochs: expected a positive whole number"),
        (("--batch-size", "-1"), "--batch-size: expected a positive whole number"),
        (("--learning-rate", "0"), "--learning-rate: expected a positive number"),
        (("--likelihood", "poisson"), "outside the support of Poisson"),
        (("--likelihood", "normal", "--scale", "-1"), "scale: expected finite values"),
        (("--likelihood", "poisson", "--scale", "1"), "no parameter or option scale"),
        (("--num-samples", "0"), "--num-samples: expected a positive whole number, got 0"),
        (("--seed", "-1"), "--seed: expected a whole number of at least 0, got -1"),
        (("--latent", "99999999999"), "error: not enough memory, take smaller numbers: "),
        (("--beta", "-1"), "beta: expected a finite number of at least 0"),
        (("--resume",), "say which run, with --out"),
        (("--resume", "--out", "nowhere"), "not the folder of a run"),
        (("--out", "file/below"), "cannot write to file"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_no_run(call, tmp_path, arguments, said):
    (tmp_path / "file").write_text("")
    code, _, err = call("train", *arguments)
    assert code == 2 and said in err and err.count("\n") == 1, err
    assert not list(tmp_path.rglob("config.json"))


def test_a_terminal_without_the_signs_shows_others(call, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    call("plot", "nowhere")
    print("KL(q ‖ p)", file=out, flush=True)
    assert out.buffer.getvalue() == b"KL(q ? p)\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--count", 0), "--count: expected a positive whole number, got 0"),
        (("--seed", -1), "--seed: expected a whole number of at least 0, got -1"),
    ],
)
def test_numbers_of_a_sample_are_checked_first(call, arguments, said):
    code, _, err = call("sample", "nowhere", *arguments)
    assert code == 2 and said in err


def test_a_run_whose_first_checkpoint_cannot_be_written_leaves_nothing(call, tmp_path, monkeypatch):
    def fill_up(*args, **options):
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("pyro_vae.training.checkpoints.save_file", fill_up)
    code, _, err = call("train", *QUICK)
    assert code == 2 and err.count("\n") == 1 and "then go on with --resume" in err, err
    assert "checkpoint: cannot write runs/digits/checkpoint.safetensors (No space left" in err
    assert not list(tmp_path.iterdir())


def test_two_runs_in_one_folder(call, tmp_path):
    with Run(tmp_path / "run").training(is_new=True):
        code, _, err = call("train", *QUICK, "--out", "run")
    assert code == 2 and err.startswith("error: --out: another run trains in run now; wait until")
    assert not list(tmp_path.iterdir())


def test_a_broken_run_is_refused(call, tmp_path):
    call("train", *QUICK)
    run = tmp_path / "runs" / "digits"
    whole = (run / "weights.safetensors").read_bytes()
    for spoilt, said in (
        (whole[:1000], "truncated, corrupted"),
        (b"\x80\x04pickle", "pickles are never opened"),
    ):
        (run / "weights.safetensors").write_bytes(spoilt)
        code, _, err = call("measure", run)
        assert code == 2 and said in err
    (run / "weights.safetensors").unlink()
    code, _, err = call("measure", run)
    assert code == 2 and "no weights.safetensors" in err and "--resume" in err
    for wrong, said in (
        (("--quick", "--thorough"), "choose one of"),
        (("--rows", 0), "rows: expected a positive"),
    ):
        code, _, err = call("measure", run, *wrong)
        assert code == 2 and said in err
    config = json.loads((run / "config.json").read_text())
    (run / "weights.safetensors").write_bytes(whole)
    (run / "config.json").write_text(json.dumps(config | {"latent": 3}))
    code, _, err = call("measure", run)
    assert code == 2 and "of another pair" in err
    assert call("measure", tmp_path)[0] == 2


def test_resume_continues_to_more_epochs_exactly_and_refuses_other_options(call, tmp_path):
    call("train", *QUICK, "--out", "short")
    call("train", *QUICK, "--epochs", 4, "--out", "long")
    code, _, err = call("train", "--resume", "--out", "short", "--latent", 5)
    assert code == 2 and "latent: the run in short has 2, got 5" in err
    assert call("train", "--resume", "--out", "short", "--epochs", 4)[0] == 0
    assert (tmp_path / "short" / "weights.safetensors").read_bytes() == (
        tmp_path / "long" / "weights.safetensors"
    ).read_bytes()


def test_a_run_goes_on_with_the_data_of_its_start_alone(call, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "draw_figures", lambda *arguments: {})
    x = np.random.RandomState(0).rand(60, 5).astype("float32")
    for name, value in (("own", x), ("other", x[::-1])):
        np.savez(tmp_path / f"{name}.npz", train=value, validation=x[:20], test=x[:20])
    code, _, err = call("train", "--data", "own.npz", "--likelihood", "normal", *QUICK, *RUN)
    assert code == 0, err
    config = (tmp_path / "run" / "config.json").read_bytes()

    code, _, err = call("train", "--resume", "--data", "other.npz", *RUN)
    assert code == 2 and "data: the run in run was made with other data than" in err
    assert (tmp_path / "run" / "config.json").read_bytes() == config

    (tmp_path / "own.npz").rename(tmp_path / "moved.npz")
    for epochs in (3, 4):
        code, _, err = call("train", "--resume", "--data", "moved.npz", "--epochs", epochs, *RUN)
        assert code == 0, err


# the command line, which says on its output when an epoch is done
ANNOUNCED = """
import runpy
from functools import partial
import pyro_vae as pv
pv.fit = partial(pv.fit, callback=lambda history: print("an epoch is done", flush=True))
runpy.run_module("pyro_vae.cli", run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_cleanly_and_says_how_to_resume(number, tmp_path):
    command = [sys.executable, "-c", ANNOUNCED, "train", "--epochs", "100000", "--out", "run"]
    path = os.pathsep.join(
        [os.path.dirname(os.path.dirname(pv.__file__)), os.environ.get("PYTHONPATH", "")]
    )
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    for line in process.stdout:
        if line == "an epoch is done\n":
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert (
        "in epoch" in err and "pyro-vae train --resume --out run" in err and "Traceback" not in err
    )
    tensors = load_file(tmp_path / "run" / "checkpoint.safetensors")
    assert all(t.isfinite().all() for name, t in tensors.items() if name.startswith("weights/"))


@pytest.mark.parametrize("command", ["train", "measure", "plot", "sample"])
def test_every_command_says_a_line_where_ctrl_c_stops_it(call, monkeypatch, command):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "read_config", stop)
    arguments = ["--resume", "--out", "run"] if command == "train" else ["run"]
    assert call(command, *arguments) == (130, "", f"\nstopped before {command} was done\n")


def test_help_lists_the_names(call):
    code, out, _ = call("train", "--help")
    assert code == 0
    for table in (
        parts.PRIORS,
        parts.LIKELIHOODS,
        parts.VARIATIONALS,
        OBJECTIVES,
        PAIRS,
        parts.NETWORKS,
        pv.data.NAMES,
    ):
        assert all(name in "".join(out.split()) for name in table)
