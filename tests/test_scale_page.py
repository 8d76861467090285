"""The script of docs/scale.md runs as torchrun would start it, in one process."""

import re
from pathlib import Path

import numpy as np
import pytest
from torch import distributed

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"


@pytest.fixture
def started(monkeypatch, tmp_path):
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_PORT", "0")
    monkeypatch.chdir(tmp_path)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def test_the_script_runs(started, tmp_path, capsys):
    np.save("x.npy", np.random.default_rng(0).normal(size=(120, 3)).astype("float32"))
    script = re.search(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)

    exec(compile(script[1], str(PAGE), "exec"), {})

    assert "2 epochs" in capsys.readouterr().out
    assert (tmp_path / "run.safetensors").exists()
