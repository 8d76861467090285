"""The code of docs/tables.md runs, and the page names each kind of column."""

import re
from pathlib import Path

import pytest

from pyro_vae.data.columns import KINDS
from tests.data.test_table import make_frame

PAGE = (Path(__file__).parent.parent.parent / "docs" / "tables.md").read_text()
pd = pytest.importorskip("pandas")


def test_the_five_lines_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_frame().to_csv("patients.csv", index=False)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(code.strip().splitlines()) == 2 + 5
    exec(code.replace("epochs=300", "epochs=2, progress=False"), {})
    assert not pd.read_csv("imputed.csv").isna().any().any()
    assert len(pd.read_csv("invented.csv")) == 100


def test_each_kind_is_on_the_page():
    assert all(f"`{kind}`" in PAGE for kind in KINDS)
