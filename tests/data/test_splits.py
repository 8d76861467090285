import numpy as np
import pytest
import torch

from pyro_vae.data import load
from pyro_vae.data.splits import split
from tests.datasets import X, Y, everything, saved


def test_a_split_has_every_row_once_with_its_label():
    d = split(torch.tensor(X), torch.tensor(Y), "rows")

    assert [len(part) for part in d[:3]] == [16, 2, 2]
    assert sorted(everything(d)[:, 0].tolist()) == X[:, 0].tolist()
    assert all(torch.equal(x[:, 0], 3.0 * y) for x, y in zip(d[:3], d.labels, strict=True))
    assert d.description == "rows, split 16 / 2 / 2 at random"


def test_sizes_can_be_given():
    d = split(torch.tensor(X), None, "rows", sizes=(10, 6, 4))
    assert [len(part) for part in d[:3]] == [10, 6, 4] and d.labels is None


REFUSED = {
    "two rows": (saved("x.npz", x=X[:2]), "x.npz has 2 rows; at least 3 are needed"),
    "a number": (saved("x.npz", x=np.array(3.0)), "has 0 rows; at least 3"),
    "one-hot labels": (saved("x.npz", x=X, y=np.eye(20)), r"\(20, 20\), .* y.argmax\(1\)"),
    "labels short": (saved("x.npz", x=X, y=Y[:5]), "20 rows x and 5 labels y"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    make, words = REFUSED[case]
    name = make(tmp_path)
    with pytest.raises(ValueError, match=words):
        load(name)
