"""Progress: a bar where somebody sees it, silence elsewhere."""

import sys
from types import SimpleNamespace

import pytest

from pyro_vae.progress import noted, progress_bar


@pytest.mark.parametrize(("show", "in_terminal"), [(True, True), (True, False), (False, True)])
def test_a_bar_is_shown_in_a_terminal_if_asked_for(show, in_terminal, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: in_terminal, raising=False)
    with progress_bar(3, "measuring", show=show, unit="datum") as bar:
        assert bar.disable is not (show and in_terminal)


@pytest.mark.parametrize("is_running", [True, False])
def test_a_bar_is_shown_in_a_notebook_that_runs(is_running, monkeypatch):
    app = SimpleNamespace(IPKernelApp=SimpleNamespace(initialized=lambda: is_running))
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", app)
    with progress_bar(3, "measuring") as bar:
        assert bar.disable is not is_running


def test_it_is_silent_elsewhere(capsys):
    with progress_bar(3, "measuring") as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")


def test_a_bar_that_is_shown_says_what_takes_long_and_then_no_more(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bar(3, "measuring") as bar:
        bar.set_postfix_str("loss 3")
        with noted("compiling"):
            assert bar.postfix == "compiling"
        assert bar.postfix == "loss 3"
    assert "compiling" in capsys.readouterr().err


def test_where_no_bar_is_shown_nothing_is_said(capsys):
    with progress_bar(3, "measuring", show=False), noted("compiling"):
        pass
    assert capsys.readouterr() == ("", "")
