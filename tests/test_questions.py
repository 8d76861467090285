"""Each worked question runs, shortened, and what it claims holds; the page has its figures."""

import re
from pathlib import Path

import matplotlib
import matplotlib.image
import pytest
import torch

ROOT = Path(__file__).parent.parent
QUESTIONS = ROOT / "examples" / "questions"
SHORT = {
    "whole": {"SIZE": 100},
    "posterior": {"SIZE": 150, "DRAWS": 20_000},
    "identity": {"EPOCHS": [1, 5], "ALONE": [5], "ROWS": 10, "SIZE": 100},
    "drawing": {"EPOCHS": 20, "ROWS": 20, "DRAWS": 1000},
    "mirror": {"EPOCHS": 10, "ROWS": 10, "SIZE": 100},
    "decoder": {"COUNTS": [30], "STEPS": 100, "ROWS": 20, "SIZE": 100},
    "continuous": {
        "EPOCHS": 12,
        "SHORT_EPOCHS": 4,
        "WIDTHS": [0.01, 1.0],
        "FIXED": [0.0, 0.3],
        "SEEDS": [0, 1],
        "DRAWS": 50,
        "SIZE": 60,
    },
    "scramble": {"WIDTHS": [4.0, 1.0, 0.25], "BELLS": 3, "SIZE": 150, "STEPS": [150, 300]},
    "other_factoring": {"EPOCHS": 60, "ROWS": 200, "SIZE": 80},
}


# matplotlib, of tensors
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def put_constant(source: str, name: str, value: object) -> str:
    """The source with another value for a constant at its top."""
    line = f"{name} = {value!r}"
    if isinstance(value, Path):
        line = f"{name} = Path({str(value)!r})"

    source, replaced = re.subn(rf"^{name} = .*$", lambda _: line, source, flags=re.MULTILINE)
    assert replaced == 1, name
    return source


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(QUESTIONS)  # scripts import pair.py, which lies beside them

    def run(name: str) -> dict:
        """Run a script with other constants, and return what its cells leave behind."""
        source = (QUESTIONS / f"{name}.py").read_text()
        for constant, value in (SHORT[name] | {"OUT": tmp_path}).items():
            source = put_constant(source, constant, value)

        left = {"__name__": "__main__"}
        with matplotlib.rc_context():
            exec(compile(source, f"{name}.py", "exec"), left)
        assert matplotlib.image.imread(tmp_path / f"{name}.png").std() > 0.05
        return left

    return run


def test_each_question_is_here_in_cells():
    found = {path.stem: path.read_text() for path in QUESTIONS.glob("*.py")}
    found.pop("pair")
    assert set(found) == set(SHORT)
    for name, source in found.items():
        assert source.startswith("# %% [markdown]") and source.count("\n# %%") >= 4, name


def test_the_page_has_each_question_its_figure_and_its_command():
    page = (ROOT / "docs" / "questions.md").read_text()
    for name in SHORT:
        assert f"python examples/questions/{name}.py" in page and f"figures/{name}.png" in page
        assert (ROOT / "docs" / "figures" / f"{name}.png").stat().st_size < 150_000


NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def find_numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


def test_the_blocks_of_the_page_print_what_it_shows(monkeypatch):
    monkeypatch.syspath_prepend(QUESTIONS)
    monkeypatch.syspath_prepend(ROOT / "docs")
    from build_questions import put_tables, run_blocks

    page = (ROOT / "docs" / "questions.md").read_text()
    found = run_blocks(put_tables(page))

    assert NUMBER.sub("", found) == NUMBER.sub("", page)
    # another processor may round the last digit otherwise
    assert find_numbers(found) == pytest.approx(find_numbers(page), rel=2e-3, abs=0.011)


def test_every_number_in_the_text_is_in_what_was_run():
    """A number with a decimal point is in a table, or in what a block prints, perhaps rounded."""
    page = (ROOT / "docs" / "questions.md").read_text()
    pattern = r"```(?:python|text)\n.*?```|^\|[^\n]*$"
    shown = re.findall(pattern, page, re.DOTALL | re.MULTILINE)
    known = [abs(number) for number in find_numbers("\n".join(shown))]
    text = re.sub(pattern, "", page, flags=re.DOTALL | re.MULTILINE)

    for one, other, difference in re.findall(r"(\S+) - (\S+) = (\d+\.\d+)", text):
        assert float(one) - float(other) == pytest.approx(float(difference))
        known.append(float(difference))

    for number in re.findall(r"\d[\d,]*\.\d+", text):
        half = 0.5 * 10.0 ** -len(number.partition(".")[2])
        value = float(number.replace(",", ""))
        assert any(abs(value - other) <= half * 1.001 for other in known), number


def test_whole(run):
    left = run("whole")
    assert left["reconstruction"] - left["cost"] == pytest.approx(left["elbo"])


def test_posterior(run):
    left = run("posterior")
    assert left["error"] < 1e-3
    assert (left["by_drawing"] - left["log_evidence"]).abs().max() < 0.2
    assert ((left["log_posterior"].exp().sum(0) * left["cell"]) - 1).abs().max() < 1e-3
    assert (left["gap"] > 0).all()
    assert all(best < width for best, width in zip(left["best_width"], left["width"].tolist()))


def test_identity(run):
    left = run("identity")
    for m in [*left["together"].values(), *left["alone"].values()]:
        assert m["residual"].abs().max() < 5
    first, last = left["alone"][0], left["alone"][5]
    assert (first["log p(x)"] - last["log p(x)"]).abs().max() < 0.01
    assert left["loss"] > 0 and abs(left["gain"] - left["loss"]) < 0.3


def test_drawing(run):
    left = run("drawing")
    for latents in (2, 20):
        assert left["effective"][latents, "q"] > 2 * left["effective"][latents, "prior"]
    by_prior, by_q = (left["estimate"](left["found"][2, s], 1000).mean() for s in ("prior", "q"))
    assert abs(by_prior - by_q) < 0.2


def test_mirror(run):
    found = run("mirror")["found"]
    before, after = found["bad decoder, new encoder"], found["bad decoder, encoder trained"]
    assert after["gap"] < 0.5 * before["gap"]
    assert after["log p(x)"] == pytest.approx(before["log p(x)"], abs=1e-3)
    assert after["log p(x)"] < found["the pair"]["log p(x)"] - 5
    before, after = found["good decoder, random encoder"], found["random encoder, decoder trained"]
    assert after["gap"] < 0.5 * before["gap"]
    assert after["reconstruction"] < found["the pair"]["reconstruction"]


def test_decoder(run):
    found = run("decoder")["found"]
    few, every = found[30], found[1297]
    assert few["new"]["log p(x)"] < every["new"]["log p(x)"]
    assert every["seen"]["log p(x)"] == pytest.approx(every["new"]["log p(x)"], abs=5)


def test_continuous(run):
    left = run("continuous")
    (narrow, narrow_shuffled), (wide, wide_shuffled) = left["seats"].values()
    assert (narrow - narrow_shuffled).mean() < 0.3
    assert (wide - wide_shuffled).mean() > 5

    none, little, all_of_it = (left["found"][beta] for beta in (0.0, 0.1, 1.0))
    for name in ("information", "marginal", "holes"):
        assert none[name] > little[name] > all_of_it[name]
    assert none["gap"].mean() > 10 * all_of_it["gap"].mean()
    for row in (none, little, all_of_it):
        assert torch.allclose(
            row["reconstruction"] - row["cost"] + row["gap"], row["log p(x)"], atol=1e-4
        )

    for name in ("stiff", "as above", "flexible"):
        assert max(left["sharing"][name, 0.0]) < 1.1
        assert min(left["sharing"][name, 0.3]) > 20
    assert min(left["detours"]["flexible", 0.3]) > max(left["detours"]["stiff", 0.3])


def test_other_factoring(run):
    left = run("other_factoring")
    assert left["weights"].sum().item() == pytest.approx(1, abs=1e-5)
    for kl in left["found"].values():
        assert kl.posterior.value + kl.evidence.value == pytest.approx(kl.total.value, abs=1e-3)
        assert kl.marginal.value + kl.likelihood.value == pytest.approx(kl.total.value, abs=1e-3)
        a, b, c, d, total = map(float, left["write_terms"](kl))
        assert a + b == pytest.approx(total) and c + d == pytest.approx(total)

    trained, both, alone, moved = left["found"].values()
    assert alone.marginal.value > both.marginal.value + 5 * both.marginal.stderr
    assert alone.likelihood.value < both.likelihood.value
    assert moved.likelihood.value == pytest.approx(trained.likelihood.value, abs=1e-6)
    assert moved.marginal.value > trained.marginal.value + 5
    assert left["left"] == pytest.approx(trained.total.value, abs=0.1)


def test_scramble(run):
    left = run("scramble")
    assert max(left["apart"].values()) < 1e-12

    (coarse, torn), (fine, still_torn) = left["walks"].values()
    assert fine.max() < 0.6 * coarse.max()
    assert still_torn.max() > 0.9 * torn.max() > 50 * fine.max()
    assert set(left["jumps"].values()) == {12}

    wide, middle, narrow = (nats.mean() for nats in left["lost"].values())
    assert -0.01 < wide < middle < narrow
    assert narrow > 1
