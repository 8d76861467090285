"""The code of docs/sharing.md runs."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "sharing.md"


def test_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    left: dict = {}
    exec(code, left)
    assert repr(left["same"]) == repr(left["vae"])
