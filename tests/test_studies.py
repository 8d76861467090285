"""Each study on real data runs in its short form, where the data are at hand."""

from tests.scripts import STUDIES, needs, run_main

# the arguments of each study's `main` that make it take seconds
SHORT: dict[str, dict] = {
    "bayes_rule_mnist": {"epochs": 1, "rows": 1_000, "hidden": 16, "tests": 50, "draws": 4},
    "counts_pbmc": {
        "seeds": 1,
        "epochs": 2,
        "tests": 5,
        "num_steps": 2,
        "num_chains": 2,
        "num_samples": 5,
    },
    "labels_mnist": {
        "known": (100,),
        "coded": 500,
        "coding": 1,
        "epochs": 1,
        "steps": 100,
        "tests": 500,
    },
    "levels_mnist": {"epochs": 1, "rows": 200, "tests": 20, "num_samples": 10, "warm_up": 0.5},
    "clusters_mnist": {
        "seeds": (0,),
        "rows": 300,
        "tests": 100,
        "epochs": 1,
        "refining": 1,
        "num_samples": 3,
    },
    "multimodal_mnist": {
        "epochs": 1,
        "rows": 300,
        "tests": 40,
        "num_samples": 10,
        "latent": 8,
        "width": 32,
    },
    "sequences_jsb": {
        "minutes": 0.02,
        "warm_up": 1,
        "rows": 12,
        "steps": 5,
        "num_samples": 5,
    },
    "topics_20news": {
        "topics": 5,
        "epochs": 2,
        "rows": 300,
        "words": 60,
        "num_samples": 2,
        "passes": 1,
    },
}


def run(name: str):
    return run_main(STUDIES / f"{name}.py", **SHORT[name])


def test_each_study_is_here():
    assert set(SHORT) == {path.stem for path in STUDIES.glob("*.py")}


def test_sequences_jsb():
    needs("jsb-quarter.json")
    curves = run("sequences_jsb")
    assert list(curves) == ["SequenceVAE", "a site for each step"]
    for points in curves.values():
        assert all(-100 < p.elbo.value < p.evidence.value + 1 < 0 for p in points)
    # the same start, seed and batches
    ours, theirs = (points[0] for points in curves.values())
    assert ours.epoch == theirs.epoch == 1 and abs(ours.elbo.value - theirs.elbo.value) < 2


def test_topics_20news(eager):
    needs("20news.npz")
    found = run("topics_20news")
    assert list(found) == ["ProdLDA, seed 0", "scikit-learn's LDA"]
    for row in found.values():
        assert -1 <= row["NPMI"].value <= 1 and 0 < row["distinct words"].value <= 1
        assert 1 < row["per word"].value < 1000


def test_counts_pbmc():
    needs("pbmc68k.npz")
    found = run("counts_pbmc")
    assert {name: value.shape for name, value in found.items()} == dict.fromkeys(
        ("Poisson", "NB", "ZINB"), (1, 5)
    )
    assert all(value.isfinite().all() for value in found.values())


def test_bayes_rule_mnist():
    needs("MNIST")
    assert 0 <= run("bayes_rule_mnist") <= 1


def test_labels_mnist(tmp_path):
    needs("MNIST")
    script, options = STUDIES / "labels_mnist.py", SHORT["labels_mnist"]
    methods = ("alone", "term", "summed", "drawn")
    on_pixels = run_main(script, **options, methods=methods[:2], pixels=True)
    assert on_pixels["alone 100 0"]["accuracy"] > 0.3

    cells = run_main(script, **options, methods=methods[:1], folder=tmp_path)
    # cells that were kept are not filled again
    more = run_main(script, **options, methods=methods, folder=tmp_path)
    assert more["alone 100 0"] == cells["alone 100 0"] and len(more) == 4
    assert all(0 <= cell["accuracy"] <= 1 for cell in more.values())


def test_levels_mnist(eager):
    needs("binarized_mnist.npz")
    found = run("levels_mnist")
    assert list(found) == ["one", "bottom-up", "top-down"]
    assert all(-700 < value.mean() < -100 for value in found.values())


def test_clusters_mnist(tmp_path, monkeypatch):
    needs("MNIST")
    monkeypatch.chdir(tmp_path)
    found = run("clusters_mnist")
    assert len(found) == 7 and all(0 < a.accuracy.value < 1 for (a,) in found.values())
    assert len((tmp_path / "runs" / "clusters_mnist.csv").read_text().splitlines()) == 1 + 7


def test_multimodal_mnist():
    needs("MNIST")
    found = run("multimodal_mnist")
    assert list(found) == ["together", "subsets", "subsets, label x 10", "subsets, label x 50"]
    for accuracy, coherence in found.values():
        shares = [*accuracy.values(), coherence.joint, *coherence.posterior.values()]
        assert all(0 <= share.value <= 1 and share.stderr > 0 for share in shares)
