"""Progress: a bar where somebody sees it, silence elsewhere."""

import sys

import pytest

from pyro_vae.progress import progress_bar


@pytest.mark.parametrize(("show", "in_terminal"), [(True, True), (True, False), (False, True)])
def test_a_bar_is_shown_in_a_terminal_if_asked_for(show, in_terminal, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: in_terminal, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with progress_bar(3, "measuring", show=show, unit="datum") as bar:
        assert bar.disable is not (show and in_terminal)


def test_it_is_silent_elsewhere(capsys):
    with progress_bar(3, "measuring") as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")
