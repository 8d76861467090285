"""Each example runs, shortened, and shows what it says."""

import pytest
import torch

from tests.scripts import EXAMPLES, needs, run_main

SHORT = {
    "vae": {"epochs": 3, "num_samples": 20},
    "swap": {"epochs": 1, "rows": 200, "tests": 20, "num_samples": 20},
    "handwritten": {"epochs": 3, "num_samples": 20},
    "linear_gaussian": {"num_samples": 500},
    "table_data": {"epochs": 40, "masks": 2, "num_samples": 50},
    "table_file": {"epochs": 60, "num_samples": 50},
    "counts": {"epochs": 1, "num_samples": 5},
    "cells": {"epochs": 25, "n": 600, "num_samples": 20},
    "sphere": {"epochs": 3, "num_samples": 20},
    "mnist": {"epochs": 1, "rows": 500, "num_samples": 5},
    "iwae": {"epochs": 1, "ks": (1, 5), "rows": 200, "tests": 20, "num_samples": 20},
    "conditional": {"epochs": 3, "num_samples": 5},
    "hierarchical": {"epochs": 2, "num_samples": 20},
    "clusters": {"epochs": 6, "refining": 1, "num_samples": 5},
    "labelled": {"epochs": 3, "num_samples": 5},
    "sequence": {"epochs": 10, "n": 200, "num_samples": 10},
    "multimodal": {"epochs": 15, "num_samples": 20},
    "topics": {"epochs": 15, "n": 500, "num_samples": 10},
    "static_mnist": {"epochs": 1, "rows": 300, "tests": 20, "k": 20},
}


def run(name: str):
    return run_main(EXAMPLES / f"{name}.py", **SHORT[name])


def test_each_example_is_here():
    assert set(SHORT) == {path.stem for path in EXAMPLES.glob("*.py")}


def test_vae():
    losses = run("vae")
    assert losses[-1] < losses[0]


def test_swap():
    found = run("swap")
    assert len(found) == 27 and all(
        value.shape == (20,) and value.isfinite().all() for value in found.values()
    )


@pytest.mark.filterwarnings("ignore:.*adopts pyro.param")
def test_handwritten():
    picture = run("handwritten")
    assert (picture.elbo.value <= picture.evidence.value).all()


def test_linear_gaussian():
    for name, exact, measured, error in run("linear_gaussian"):
        assert abs(measured - exact) < 5 * error, name


def test_sphere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run("sphere")
    assert found["normal"][1] == 0 and torch.tensor(list(found.values())).isfinite().all()
    assert (tmp_path / "sphere.png").stat().st_size > 10_000


def test_table_data():
    found = run("table_data")
    assert {name: errors.shape for name, errors in found.items()} == dict.fromkeys(
        found, (2, 4)
    ) and len(found) == 3
    means, _, ours, right = found["wine"].mean(0)
    assert ours < means and right > 0.5


def test_table_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run("table_file")
    assert len(found) == 5
    for name in ("wine", "iris", "wine with words"):
        assert found[name]["VAE"]["numbers"] < found[name]["plain"]["numbers"], name
    assert found["iris"]["VAE"]["words"] > found["iris"]["plain"]["words"] + 0.2
    assert len(list((tmp_path / "runs" / "tables").glob("*-imputed.csv"))) == 5


def test_counts():
    found = run("counts")
    assert len(found) == 10 and torch.tensor(list(found.values())).isfinite().all()


def test_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run("cells")
    assert found["Poisson"] < found["negative binomial"] < 0
    assert found["type"] > 0.9 > found["batch"]
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == 600


def test_conditional(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("conditional") > 0.2
    assert (tmp_path / "conditional.png").stat().st_size > 5_000


def test_hierarchical():
    found = run("hierarchical")
    assert list(found) == ["one level", "bottom-up", "top-down"]
    assert all(value.isfinite().all() for value in found.values())


def test_clusters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run("clusters")
    assert found["named start"] > 0.4 and found["named start"] > found["random start"]
    assert (tmp_path / "clusters.png").stat().st_size > 10_000


def test_labelled():
    found = run("labelled")
    assert len(found) == 3 and found["the classifier alone"] > 0.2


def test_sequence():
    assert run("sequence") > -3


def test_multimodal():
    found = run("multimodal")
    assert list(found) == ["together", "subsets", "together, label x 10"]
    assert found["together, label x 10"]["weights"] > 0.2


def test_topics():
    assert min(run("topics").values()) > 0.9


def test_iwae(eager):
    needs("MNIST")
    found = run("iwae")
    assert list(found) == [1, 5] and all(-700 < value.mean() < -100 for value in found.values())


def test_static_mnist(eager):
    needs("binarized_mnist.npz")
    found = run("static_mnist")
    assert list(found) == ["standard", "vamp", "flow"] and all(
        -700 < value.mean() < -100 for value in found.values()
    )


def test_mnist():
    needs("binarized_mnist.npz")
    assert run("mnist").elbo.value.mean() > -500
