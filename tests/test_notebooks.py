"""The notebooks are what their sources say, and that of the page runs."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.test_questions import NUMBER, find_numbers

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parent.parent


def load_builder():
    path = ROOT / "docs" / "build_notebooks.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


builder = load_builder()


@pytest.mark.parametrize("source", builder.list_sources(), ids=lambda source: source.name)
def test_a_notebook_is_what_its_source_says(source):
    said = "notebooks are out of date: run python docs/build_notebooks.py"
    built = builder.build(source)
    nbformat.validate(built)
    path = source.with_suffix(".ipynb")
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    assert written == builder.write(built), said
    assert len(written) < 100_000


def test_each_cell_of_a_script_is_a_cell_of_its_notebook():
    source = builder.SCRIPTS / "mirror.py"
    code = source.read_text()
    first, *cells, last = builder.build(source).cells
    assert "examples/questions/mirror.py" in first.source and last.source == builder.SHOW
    assert len(cells) == code.count("# %%")
    assert all(cell.source in code for cell in cells if cell.cell_type == "code")


def test_a_badge_needs_an_address():
    assert "colab" not in builder._introduce(builder.PAGE)
    badge = builder._introduce(builder.PAGE, "someone/somewhere")
    assert "github/someone/somewhere/blob/main/docs/questions.ipynb)" in badge


def test_the_notebook_of_the_page_runs_and_prints_what_the_page_says():
    notebook = nbformat.read(builder.PAGE.with_suffix(".ipynb"), as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": builder.PAGE.parent}}
    ).execute()

    page = builder.PAGE.read_text(encoding="utf-8")
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    # the kernel may send what a cell prints in several pieces
    printed = "".join(out.text for out in outputs if out.get("name") == "stdout")
    shown = "".join(re.findall(r"```text\n(.*?)```", page, re.DOTALL))
    assert NUMBER.sub("", printed) == NUMBER.sub("", shown)
    assert find_numbers(printed) == pytest.approx(find_numbers(shown), rel=2e-3, abs=0.011)
