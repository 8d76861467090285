"""Each pair through the commands: trained, measured, drawn, sampled, and resumed bit for bit."""

import json
import re

import numpy as np
import pytest

from pyro_vae.cli import commands, steps

ROWS = 60
PAIRS = {
    "conditional": ("--condition", "labels", "--latent", 3),
    "hierarchical": ("--pair", "hierarchical", "--levels", "3,2"),
    "labelled": ("--pair", "labelled", "--labels", 9, "--latent", 2),
    "clusters": ("--pair", "labelled", "--labels", 0, "--latent", 2, "--start-epochs", 1),
    "sequence": ("--pair", "sequence", "--latent", 2),
    "topics": ("--network", "topics", "--latent", 3, "--data", "bags.npy"),
    "multimodal": ("--pair", "multimodal", "--labels", 20, "--latent", 3),
}
# what the report says of each pair beside the picture
SAID = {
    "conditional": "The class by Bayes",
    "hierarchical": "I_q(x; z2)",
    "labelled": "accuracy of q(y|x)",
    "clusters": "ARI of p(y|x)",
    "sequence": "Nats per step",
    "topics": "distinct words",
    "multimodal": "The label from the image alone",
}


@pytest.fixture
def train(call, tmp_path, monkeypatch):
    """Train on small binary images of three classes, or on small sequences."""
    monkeypatch.setitem(steps.EFFORTS["quick"], "simulations", 20)
    rng = np.random.RandomState(0)
    x = (rng.rand(ROWS, 1, 4, 4) < 0.5).astype(np.float32)
    np.savez(tmp_path / "images.npz", x=x, y=np.arange(ROWS) % 3)
    np.save(tmp_path / "bags.npy", x.reshape(ROWS, 16).astype(int))
    np.savez(tmp_path / "sequences.npz", x=x[:, 0], lengths=np.arange(ROWS) % 4 + 1)

    def run(name, *arguments):
        data = "sequences.npz" if name == "sequence" else "images.npz"
        quick = ("--batch-size", 30, "--num-samples", 10, "--data", data)
        return call("train", *quick, *PAIRS[name], *arguments)

    return run


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_goes_through_all_commands(train, call, tmp_path, name):
    code, out, err = train(name, "--epochs", 1, "--out", "run")
    assert code == 0 and SAID[name] in out, err
    drawn = {path.stem for path in (tmp_path / "run" / "figures").glob("*.png")}

    code, _, err = call("measure", "run", "--quick", "--rows", 5, "--num-samples", 10)
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "picture.json").read_text())["findings"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert SAID[name] in page and page.count("data:image/png;base64,") == len(drawn)

    code, _, err = call("sample", "run", "--count", 3)
    values = np.load(tmp_path / "run" / "samples.npz")
    assert code == 0 and len({len(values[site]) for site in values}) == 1, err


@pytest.mark.parametrize("name", PAIRS)
def test_a_run_goes_on_as_if_it_had_not_stopped(train, call, tmp_path, monkeypatch, name):
    monkeypatch.setattr(commands, "draw_figures", lambda *arguments: {})
    for run, epochs in (("short", 1), ("long", 2)):
        assert train(name, "--epochs", epochs, "--out", run)[0] == 0
    assert call("train", "--resume", "--out", "short", "--epochs", 2)[0] == 0
    short, long = (tmp_path / run / "weights.safetensors" for run in ("short", "long"))
    assert short.read_bytes() == long.read_bytes()


@pytest.mark.parametrize(
    "name, arguments, said",
    [
        ("hierarchical", ("--levels", "4,x"), "--levels: expected positive whole numbers with com"),
        ("hierarchical", ("--levels", "4,0"), "from the bottom level up, such as 40,20, got '4,0'"),
        ("hierarchical", ("--order", "sideways"), "--order: expected 'bottom-up' or 'top-down'"),
        ("hierarchical", ("--labels", 3), "--labels: it goes with --pair labelled"),
        ("labelled", ("--labels", 49), "--labels: expected at most the 48 labels of the training"),
        ("labelled", ("--labels", -1), "--labels: expected a whole number of at least 0, got -1"),
        (
            "labelled",
            ("--data", "sequences.npz"),
            "--pair: the data .*sequences.npz have no labels",
        ),
        ("labelled", ("--objective", "mmd"), "--objective: mmd does not go with --pair labelled"),
        (
            "labelled",
            ("--label-weight", -1),
            "--label-weight: expected a finite number of at least",
        ),
        ("labelled", ("--condition", "labels"), "--condition: it goes with --pair vae"),
        ("conditional", ("--condition", "y"), "--condition: expected 'labels', got 'y'"),
        ("conditional", ("--prior", "vamp"), "--prior: a vamp prior is made of q"),
        ("clusters", ("--clusters", 0), "--clusters: expected a positive whole number, got 0"),
        ("clusters", ("--variational", "nsf"), "--variational: expected 'normal' or 'full-normal'"),
        ("clusters", ("--start-epochs", -1), "--start-epochs: expected a whole number of at least"),
        ("sequence", ("--data", "images.npz"), "--pair: the data .*images.npz are no sequences"),
        ("sequence", ("--prior", "gamma"), "--prior: unknown name 'gamma'; known are normal"),
        (
            "sequence",
            ("--objective", "free-bits"),
            "--objective: free-bits does not go with --pair",
        ),
        (
            "topics",
            ("--likelihood", "poisson"),
            "--likelihood: expected 'multinomial', got 'poisson'",
        ),
        ("topics", ("--data", "images.npz"), "--network: topics are of bags of words, counts"),
        ("topics", ("--latent", 1), "--latent: expected a whole number of at least 2, got 1"),
        ("multimodal", ("--labels", 0), "--labels: expected a positive whole number, got 0"),
        (
            "multimodal",
            ("--objective", "renyi"),
            "--objective: a weight on p.label.z. goes with the ELBO; take --objective elbo, or",
        ),
        ("multimodal", ("--variational", "nsf"), "--variational: expected 'normal', got 'nsf'"),
        (
            "multimodal",
            ("--pair", "gan"),
            "--pair: unknown name 'gan'; known are vae, hierarchical",
        ),
    ],
)
def test_what_does_not_fit_a_pair_is_one_line_and_leaves_no_run(
    train, tmp_path, name, arguments, said
):
    code, _, err = train(name, *arguments)
    assert code == 2 and err.count("\n") == 1, err

    assert re.search(said, err), err
    assert not list(tmp_path.rglob("config.json"))


def test_classes_that_cannot_be_drawn(train, call, monkeypatch):
    monkeypatch.setattr(commands, "draw_figures", lambda *arguments: {})
    train("conditional", "--epochs", 1, "--out", "run")
    for given, said in (("7", "some of the labels 0, 1, 2"), ("x", "labels with commas")):
        code, _, err = call("sample", "run", "--given", given)
        assert code == 2 and err.startswith("error: --given: expected ") and said in err
