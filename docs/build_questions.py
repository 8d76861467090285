"""Fills in docs/questions.md: below each block of Python what it prints, and the scripts' tables.

python docs/build_questions.py

A table follows the line `<!-- table: NAME -->`. It is that of docs/numbers/NAME.txt, which
examples/questions/NAME.py wrote. Nothing is trained here: the blocks read the pair's weights.
"""

import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import torch

DOCS = Path(__file__).parent
PAGE = DOCS / "questions.md"
SCRIPTS = DOCS.parent / "examples" / "questions"
BLOCK = re.compile(r"```python\n(.*?)```\n(\n```text\n.*?```\n)?", re.DOTALL)
TABLE = re.compile(r"<!-- table: (\w+) -->\n(\|.*\n)*")


def run_blocks(page: str) -> str:
    """The page with what its blocks print, run one after another."""
    names: dict = {}

    def run(block: re.Match) -> str:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(block[1], names)
        output = f"\n```text\n{printed.getvalue()}```\n" if printed.getvalue() else ""
        return f"```python\n{block[1]}```\n{output}"

    with torch.no_grad():
        return BLOCK.sub(run, page)


def put_tables(page: str) -> str:
    """The page with the tables that the scripts wrote."""

    def put(place: re.Match) -> str:
        table = (DOCS / "numbers" / f"{place[1]}.txt").read_text()
        return f"<!-- table: {place[1]} -->\n{table}"

    return TABLE.sub(put, page)


if __name__ == "__main__":
    sys.path.insert(0, str(SCRIPTS))
    PAGE.write_text(run_blocks(put_tables(PAGE.read_text())))
