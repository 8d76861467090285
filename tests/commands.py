"""The command line, called as from a shell."""

import sys

import pytest

from pyro_vae import cli

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
