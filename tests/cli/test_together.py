import subprocess
import sys

import numpy as np
import pytest
import torch

from pyro_vae.cli.together import is_restarted
from pyro_vae.training.checkpoints import read_file

SCRIPT = """
import os, signal, sys
from functools import partial
import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.training.shares import SharedStep

step, steps = SharedStep.__call__, []

def die_once(self, batch):
    steps.append(1)
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and self.kills and len(steps) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch)

SharedStep.kills = os.environ["RANK"] == "1"
SharedStep.__call__ = die_once
pv.fit = partial(pv.fit, checkpoint_every=0)
main()
"""
OPTIONS = ("--likelihood", "normal", "--epochs", "4", "--batch-size", "20", "--num-samples", "20")


def run(tmp_path, *command):
    options = ("train", "--data", "own.npy", *OPTIONS, "--out")
    done = subprocess.run(
        [sys.executable, "-m", *command[:-1], *options, command[-1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_killed_worker_takes_nothing_with_it(tmp_path):
    x = np.random.default_rng(0).normal(size=(90, 3)).astype("float32")
    np.save(tmp_path / "own.npy", x)
    (tmp_path / "script.py").write_text(SCRIPT)

    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
    said = run(tmp_path, *torchrun, "script.py", "killed")
    run(tmp_path, "pyro_vae", "alone")

    assert said.count("trained 4 epochs") == 1 and said.count("The Bayesian picture") == 1
    killed, _ = read_file(tmp_path / "killed" / "weights.safetensors")
    alone, _ = read_file(tmp_path / "alone" / "weights.safetensors")
    for name in alone:
        torch.testing.assert_close(killed[name], alone[name], rtol=1e-4, atol=1e-5)


def test_a_run_that_may_restart_names_its_folder(monkeypatch, tmp_path):
    assert not is_restarted(None)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "2")
    with pytest.raises(ValueError, match="out: name the folder"):
        is_restarted(None)

    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not is_restarted(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert is_restarted(tmp_path)
