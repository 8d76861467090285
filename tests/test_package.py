"""What is installed holds every file of the package, also those that are not Python."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILD = "import setuptools; setuptools.setup()"


def list_files(folder: Path) -> set[str]:
    """Its files, without what running leaves behind."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {str(path) for path in found if "__pycache__" not in path.parts}


def test_a_build_has_every_file(tmp_path):
    pytest.importorskip("setuptools")
    command = [sys.executable, "-c", BUILD, "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)

    built = list_files(tmp_path / "pyro_vae")
    assert built == list_files(ROOT / "pyro_vae")
    assert {"py.typed", "look/house.mplstyle", "look/explorer/page.html"} <= built
