"""Writes docs/explore.html: the pair of docs/questions.md, beside two trained with another beta.

    python docs/build_explorer.py

It trains the two, which takes about a minute. The suite fills the template with the numbers of the
page again and compares.
"""

import sys
from pathlib import Path

import torch

from pyro_vae.look.explore import explore

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explore.html"
BETAS = (0.1, 0.0)
FIRST = [34, 15, 29]  # the three images of docs/questions.md
NOTE = (
    "The images are scikit-learn's 8×8 digits, black and white. The pair with beta 1 is that of "
    "docs/questions.md, and so are the first three images."
)


def build() -> str:
    """The page."""
    sys.path.insert(0, str(ROOT / "examples" / "questions"))
    from pair import labels_train, load, make, train, x_test, x_train

    pairs = {"beta 1": load()}
    for beta in BETAS:
        pairs[f"beta {beta:g}"] = train(make(), beta=beta).eval()
    rest = [row for row in range(len(x_test)) if row not in FIRST]

    torch.manual_seed(0)
    return explore(pairs, x_train, x_test[FIRST + rest], labels=labels_train, note=NOTE)


if __name__ == "__main__":
    PAGE.write_text(build(), encoding="utf-8")
