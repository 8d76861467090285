"""Names and paths, and what is refused, with what the message says."""

import pytest

from pyro_vae.data import load
from tests.datasets import written

REFUSED = {
    "unknown name": (
        lambda path: "mnits",
        "'mnits' is neither a file or folder nor one of digits, mnist, fashion",
    ),
    "missing file": (lambda path: path / "none.npy", "none.npy' is neither a file"),
    "unknown suffix": (
        written("x.xlsx"),
        r"ends in '.xlsx', expected .npy, .npz, .csv, .pt or a folder of images",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    make, words = REFUSED[case]
    name = make(tmp_path)
    with pytest.raises(ValueError, match=words):
        load(name)
