"""Examples and studies, run as a person would run them, shortened."""

import importlib.util
import os
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
STUDIES = EXAMPLES / "studies"


def run_main(path: Path, **options):
    """What the `main` of a script returns."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(**options)


def needs(file: str) -> None:
    """Skip the test where the real data are not at hand."""
    if not (Path(os.environ.get("PYRO_VAE_DATA", "")) / file).exists():
        pytest.skip(f"PYRO_VAE_DATA names no folder with {file}")
