"""Makes notebooks of docs/questions.md and of the scripts in examples/questions.

    python docs/build_notebooks.py

A notebook lies beside its source and has its text and its code. It holds no outputs, which would
be as large as the figures that the page has already. The suite makes the notebooks again and
compares, and runs that of the page.
"""

from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "questions.md"
SCRIPTS = ROOT / "examples" / "questions"
ADDRESS = ""  # owner/name on GitHub. The repository has none yet, and without one there is no badge
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{address}/blob/main/{path})\n\n"
)
SHOW = "%matplotlib inline\nfigure"
FIND = 'import sys\n\nsys.path.insert(0, "../examples/questions")  # where pair.py is'


def list_sources() -> list[Path]:
    """The page, and each script that asks a question."""
    return [PAGE, *sorted(set(SCRIPTS.glob("*.py")) - {SCRIPTS / "pair.py"})]


def build(source: Path) -> nbformat.NotebookNode:
    """The notebook of a source: where it is from, its cells, and what a notebook needs beside."""
    kind = "md" if source == PAGE else "py:percent"
    cells = jupytext.reads(source.read_text(encoding="utf-8"), fmt=kind).cells
    if source == PAGE:
        cells.insert(0, new_code_cell(FIND))
    else:
        cells.append(new_code_cell(SHOW))
    cells.insert(0, new_markdown_cell(_introduce(source)))
    for number, cell in enumerate(cells):
        cell.id, cell.metadata = f"cell-{number}", {}  # the same in each build

    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _introduce(source: Path, address: str = ADDRESS) -> str:
    """Where a notebook is from, below a badge where there is an address."""
    path = source.relative_to(ROOT)
    badge = BADGE.format(address=address, path=path.with_suffix(".ipynb")) if address else ""

    return (
        f"{badge}*Made from `{path}` by `python docs/build_notebooks.py`. It needs `pip install .` "
        "in the repository, and is run in this folder.*"
    )


def write(notebook: nbformat.NotebookNode) -> str:
    """The notebook as text, ending with a line break."""
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    for source in list_sources():
        path = source.with_suffix(".ipynb")
        path.write_text(write(build(source)), encoding="utf-8")
        print(path.relative_to(ROOT))
