"""Each example runs, shortened, and shows what it says."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"
SHORT = {
    "vae": {"epochs": 3, "num_samples": 20},
    "swap": {"epochs": 1, "num_samples": 20},
    "handwritten": {"epochs": 3, "num_samples": 20},
    "linear_gaussian": {"num_samples": 500},
    "mnist": {"epochs": 1, "rows": 500, "num_samples": 5},
}


def run(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(**SHORT[name])


def test_each_example_is_here():
    assert set(SHORT) == {path.stem for path in EXAMPLES.glob("*.py")}


def test_vae():
    losses = run("vae")
    assert losses[-1] < losses[0]


def test_swap():
    found = run("swap")
    assert len(found) == 9 and torch.tensor(list(found.values())).isfinite().all()


@pytest.mark.filterwarnings("ignore:.*adopts pyro.param")
def test_handwritten():
    picture = run("handwritten")
    assert (picture.elbo.value <= picture.evidence.value).all()


def test_linear_gaussian():
    for name, exact, measured, error in run("linear_gaussian"):
        assert abs(measured - exact) < 5 * error, name


def test_mnist():
    if not (Path(os.environ.get("PYRO_VAE_DATA", "")) / "binarized_mnist.npz").is_file():
        pytest.skip("PYRO_VAE_DATA names no folder with binarized_mnist.npz")
    assert run("mnist").elbo.value.mean() > -500
