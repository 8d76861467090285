"""Files of one's own, of each kind, and what is refused, with what the message says."""

import os
import pickle

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.data import load
from tests.datasets import X, Y, everything, in_order, saved, written


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def write_csv(header):
    return lambda path: np.savetxt(path, X, delimiter=",", header=header, comments="")


FILES = {
    "x.npy": lambda path: np.save(path, X),
    "big-endian.npy": lambda path: np.save(path, X.astype(">f8")),
    "x.npz": lambda path: np.savez(path, x=X, y=Y),
    "only.npz": lambda path: np.savez(path, intensity=X),
    "plain.csv": write_csv(""),
    "header.csv": write_csv("length,width,height"),
    "tensor.pt": lambda path: torch.save(torch.tensor(X), path),
    "dict.pt": lambda path: torch.save({"x": torch.tensor(X), "y": torch.tensor(Y)}, path),
    "numbered.pt": lambda path: torch.save({0: torch.tensor(X)}, path),
}


@pytest.mark.parametrize("name", FILES)
def test_own_file(name, tmp_path):
    path = tmp_path / name
    FILES[name](path)
    d, again = load(path), load(str(path))

    assert [len(part) for part in d[:3]] == [16, 2, 2]
    assert d.train.dtype == torch.float32
    assert torch.equal(in_order(d), torch.tensor(X))
    assert torch.equal(d.train, again.train)
    if name in ("x.npz", "dict.pt"):
        assert all(torch.equal(x[:, 0], 3.0 * y) for x, y in zip(d[:3], d.labels, strict=True))
    else:
        assert d.labels is None


@pytest.mark.parametrize("validation", ["validation", "valid"])
@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_splits_of_ones_own_are_kept(suffix, validation, tmp_path):
    path, parts = tmp_path / f"splits{suffix}", {"train": X[:7], validation: X[7:9], "test": X[9:]}
    if suffix == ".npz":
        np.savez(path, **parts)
    else:
        torch.save({key: torch.tensor(value) for key, value in parts.items()}, path)

    for ours, theirs in zip(load(path)[:3], parts.values(), strict=True):
        assert torch.equal(ours, torch.tensor(theirs))


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.uint8, (0, 51, 255), (0.0, 0.2, 1.0)),
        (bool, (0, 1, 1), (0.0, 1.0, 1.0)),
        (np.float64, (0, 0.5, -3), (0.0, 0.5, -3.0)),
        (np.int32, (0, 7, 300), (0, 7, 300)),
        (np.uint16, (0, 7, 300), (0, 7, 300)),
        (">i4", (0, 7, 300), (0, 7, 300)),
    ],
)
@pytest.mark.parametrize("key", ["x", "intensity"])
def test_bytes_are_scaled_and_other_integers_kept(dtype, values, expected, key, tmp_path):
    np.savez(tmp_path / "x.npz", **{key: np.array(values, dtype).reshape(3, 1).repeat(4, 1)})
    x = everything(load(tmp_path / "x.npz"))

    assert x.dtype == (torch.float32 if isinstance(expected[0], float) else torch.int64)
    assert sorted(x[:, 0].tolist()) == pytest.approx(sorted(expected))


def test_integers_of_a_file_can_be_trained_on(tmp_path):
    np.save(tmp_path / "counts.npy", X.astype(np.uint16))
    d = load(tmp_path / "counts.npy")
    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Poisson(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    assert np.isfinite(pv.fit(pair, d.train, epochs=1, validation=d.validation, seed=0).elbo).all()


# a first row, and what is read of it and of the row "4,5,6" under it
FIRST_ROWS = {
    "a row": ("1,2,3", [[1, 2, 3], [4, 5, 6]]),
    "a row with a gap": ("7,,3", [[7, np.nan, 3], [4, 5, 6]]),
    "a row with a gap in front": (",2,3", [[np.nan, 2, 3], [4, 5, 6]]),
    "names": ("length,,height", [[4, 5, 6]]),
    "a comment": ("# 1,2,3", [[4, 5, 6]]),
    "numbers that start at 1": ("1.0,2.0,3.0", [[1, 2, 3], [4, 5, 6]]),
}


def read_rows(path, text):
    path.write_text(text)
    return everything(load(path))


@pytest.mark.parametrize("case", FIRST_ROWS)
def test_first_row_of_a_csv(case, tmp_path):
    first, expected = FIRST_ROWS[case]
    x = read_rows(tmp_path / "x.csv", first + 4 * "\n4,5,6")
    assert len(x) == 3 + len(expected)
    found = x[[i for i in range(len(x)) if x[i].tolist() != [4, 5, 6]]]
    np.testing.assert_array_equal(found, np.reshape(expected[:-1], (-1, 3)))


def test_a_first_row_that_numbers_the_columns_is_a_header_and_said_to_be_one(tmp_path):
    with pytest.warns(UserWarning, match=r"the first row of x\.csv, 0,1,2\.\.\., numbers the col"):
        x = read_rows(tmp_path / "x.csv", "0,1,2" + 4 * "\n4,5,6")
    assert x.tolist() == 4 * [[4, 5, 6]]


@pytest.mark.filterwarnings("ignore:data. the first row")
def test_an_index_is_not_taken_for_data(tmp_path):
    rows = "".join(f"\n{i},4,5" for i in range(4))
    for first in (",0,1", ",length,width"):
        with pytest.raises(ValueError, match=r"numbers the rows, as pandas does; .*index=False"):
            read_rows(tmp_path / "x.csv", first + rows)
    assert read_rows(tmp_path / "x.csv", ",length,width" + rows + "\n9,4,5").shape == (5, 3)


def test_splits_of_bytes_are_scaled_alike(tmp_path):
    x = np.array([[0, 255]] * 3, np.uint8)
    np.savez(tmp_path / "x.npz", train=x, valid=x // 255, test=x)
    d = load(tmp_path / "x.npz")
    assert d.train[0].tolist() == [0, 1]
    assert d.validation[0].tolist() == pytest.approx([0, 1 / 255])


def test_a_file_is_not_changed_by_what_is_done_to_its_data(tmp_path):
    np.save(tmp_path / "x.npy", X)
    load(tmp_path / "x.npy").train.zero_()
    assert np.array_equal(np.load(tmp_path / "x.npy"), X)


def truncated(write, name):
    def make(path):
        write(path / name)
        (path / name).write_bytes((path / name).read_bytes()[:-100])
        return path / name

    return make


REFUSED = {
    "which is x": (saved("x.npz", a=X, b=X), "has the arrays a, b; expected x"),
    "no array": (saved("x.npz"), "expected x"),
    "words": (saved("x.npz", x=np.array(["a", "b", "c"])), "'x' in .* is not an array of numbers"),
    "splits differ": (
        saved("x.npz", train=X, valid=X[:, :2], test=X),
        r"event shapes \[\(2,\), \(3,\)\]",
    ),
    "empty split": (saved("x.npz", train=X, valid=X[:0], test=X), "must have one, and rows"),
    "truncated npy": (truncated(lambda path: np.save(path, X), "x.npy"), "cannot read"),
    "truncated npz": (truncated(lambda path: np.savez(path, x=X), "x.npz"), "cannot read"),
    "truncated pt": (
        truncated(lambda path: torch.save(torch.tensor(X), path), "x.pt"),
        "cannot read",
    ),
    "ragged csv": (written("x.csv", b"1,2\n3\n4,5\n"), "cannot read"),
    "words in csv": (written("x.csv", b"1,2\n3,red\n4,5\n"), "cannot read"),
    "empty npy": (written("x.npy"), "cannot read"),
    "no rows": (saved("x.npz", x=X[:0]), "has 0 rows"),
    "mixed first row": (
        written("x.csv", b"7,NA,3\n1,2,3\n4,5,6\n"),
        r"first row has numbers and words, 7,NA,3\.\.\.; write a header of words alone",
    ),
    "splits of two types": (
        saved("x.npz", train=X.astype(np.uint8), valid=X, test=X),
        "have types train uint8, valid float32, test float32. Bytes are scaled",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    make, words = REFUSED[case]
    name = make(tmp_path)
    with pytest.raises(ValueError, match=words):
        load(name)


def as_npy(path, payload):
    np.save(path, np.array([payload] * 3, dtype=object), allow_pickle=True)


def as_npz(path, payload):
    np.savez(path, allow_pickle=True, x=np.array([payload] * 3, dtype=object))


def as_bare_pickle(path, payload):
    path.write_bytes(pickle.dumps(payload, protocol=2))


def unpickle_npz(path):
    return np.load(path, allow_pickle=True)["x"]


@pytest.mark.parametrize(
    ("suffix", "write", "run"),
    [
        (".npy", as_npy, lambda path: np.load(path, allow_pickle=True)),
        (".npz", as_npz, unpickle_npz),
        (
            ".pt",
            lambda path, payload: torch.save(payload, path),
            lambda path: torch.load(path, weights_only=False),
        ),
        (".pt", as_bare_pickle, lambda path: pickle.loads(path.read_bytes())),
    ],
)
def test_pickle_is_refused_and_does_not_run(suffix, write, run, tmp_path):
    marker, path = tmp_path / "it ran", tmp_path / f"x{suffix}"
    write(path, Payload(marker))
    with pytest.raises(ValueError, match="pickled objects are refused"):
        load(path)
    assert not marker.exists()

    run(path)
    assert marker.exists()


def test_sequences_bring_their_lengths(tmp_path):
    x, lengths = np.random.rand(20, 4, 3).astype(np.float32), np.arange(20) % 4 + 1
    np.savez(tmp_path / "own.npz", x=x, lengths=lengths)
    dataset = pv.data.load(tmp_path / "own.npz")
    assert [len(given) for given in dataset.lengths] == [16, 2, 2]
    row = int((torch.tensor(x) == dataset.train[0]).flatten(1).all(1).nonzero())
    assert dataset.lengths[0][0] == lengths[row]

    splits = {"train": x, "valid": x[:5], "test": x[:4]}
    given = {"train_lengths": lengths, "valid_lengths": lengths[:5], "test_lengths": lengths[:4]}
    np.savez(tmp_path / "splits.npz", **splits, **given)
    dataset = pv.data.load(tmp_path / "splits.npz")
    assert dataset.lengths[2].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"x": 20, "lengths": 19}, "own.npz has 20 rows x and 19 lengths"),
        (
            {"train": 20, "valid": 5, "test": 4, "train_lengths": 20},
            "expected train_lengths, valid_lengths, test_lengths in .*one for each row",
        ),
    ],
)
def test_lengths_of_other_rows(tmp_path, arrays, said):
    made = {
        name: np.ones(n, int) if "lengths" in name else np.zeros((n, 2, 3))
        for name, n in arrays.items()
    }
    np.savez(tmp_path / "own.npz", **made)
    with pytest.raises(ValueError, match=said):
        pv.data.load(tmp_path / "own.npz")
