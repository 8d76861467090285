"""Data sets: fixed splits, own files of each kind, and what is refused, with what the message says."""

import hashlib
import os
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import pyro_vae as pv
from pyro_vae.data import binarise, load

X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.arange(20)


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def everything(d):
    return torch.cat([d.train, d.validation, d.test])


def in_order(d):
    """All rows in the order of their first number, which is that of the file."""
    rows = everything(d)
    return rows[rows.flatten(1)[:, 0].argsort()]


def found(name, *files):
    folder = os.environ.get("PYRO_VAE_DATA")
    if not folder or not all((Path(folder) / file).exists() for file in files):
        pytest.skip(f"{name} is not in the folder that PYRO_VAE_DATA names ({folder or 'not set'})")
    return load(name)


# Sets by name


def test_digits_are_split_once_and_for_all():
    d = load("digits")

    assert [tuple(x.shape) for x in d[:3]] == [(1297, 1, 8, 8), (200, 1, 8, 8), (300, 1, 8, 8)]
    assert [y[:5].tolist() for y in d.labels] == [[2, 8, 2, 6, 6], [0, 9, 6, 9, 8], [8, 8, 2, 2, 2]]
    assert hashlib.sha256(d.test.numpy().tobytes()).hexdigest().startswith("17f413112d0647f1")
    assert everything(d).aminmax() == (0, 1)
    assert "1297 / 200 / 300" in repr(d)


def test_digits_are_each_there_once():
    from sklearn.datasets import load_digits

    ours = everything(load("digits")).flatten(1) * 16
    theirs = torch.tensor(load_digits().data, dtype=torch.float32)
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.tolist()))


def test_binarise_is_a_fixed_bernoulli_draw():
    grey = torch.full((10_000,), 0.3)
    x = binarise(grey)

    assert torch.equal(x, binarise(grey)) and not torch.equal(x, binarise(grey, seed=1))
    assert set(x.tolist()) == {0.0, 1.0}
    assert abs(x.mean() - 0.3) < 5 * (0.3 * 0.7 / 10_000) ** 0.5


def test_mnist():
    d = found("mnist", "MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/t10k-images-idx3-ubyte")

    assert [tuple(x.shape) for x in d[:3]] == [(n, 1, 28, 28) for n in (50_000, 10_000, 10_000)]
    assert [y[:5].tolist() for y in d.labels[::2]] == [[5, 0, 4, 1, 9], [7, 2, 1, 0, 4]]
    assert d.train.aminmax() == (0, 1)
    assert d.train.mean().item() == pytest.approx(0.1307, abs=1e-3)


def test_static_mnist_against_the_published_baseline():
    d = found("static-mnist", "binarized_mnist.npz")
    assert [tuple(x.shape) for x in d[:3]] == [(n, 1, 28, 28) for n in (50_000, 10_000, 10_000)]

    p = (d.train.double().sum(0) + 0.5) / (len(d.train) + 1)
    on, off = d.test.double().mean(0), 1 - d.test.double().mean(0)
    baseline = -(on * p.log() + off * (1 - p).log()).sum().item()
    assert baseline == pytest.approx(205.79, abs=0.05)


def packed(rows):
    bits = np.random.RandomState(0).randint(0, 2, (rows, 784), dtype=np.uint8)
    return bits, np.packbits(bits, axis=1)


def test_static_mnist_is_unpacked_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    parts = {name: packed(rows) for name, rows in (("train", 5), ("valid", 3), ("test", 2))}
    np.savez(
        tmp_path / "binarized_mnist.npz", **{name: bytes_ for name, (_, bytes_) in parts.items()}
    )

    for x, (bits, _) in zip(load("static-mnist")[:3], parts.values(), strict=True):
        assert torch.equal(x.flatten(1), torch.tensor(bits, dtype=torch.float32))


@pytest.mark.parametrize("damage", ["truncated", "other arrays"])
def test_static_mnist_that_cannot_be_read(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    path = tmp_path / "binarized_mnist.npz"
    np.savez(path, train=packed(5)[1], test=packed(5)[1])
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cannot read .*binarized_mnist.npz"):
        load("static-mnist")


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


def test_files_in_the_format_of_mnist(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.RandomState(0)
    x = {
        "train": rng.randint(0, 256, (50_030, 2, 2), dtype=np.uint8),
        "t10k": np.full((10, 2, 2), 255, np.uint8),
    }
    for part, images in x.items():
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", (np.arange(len(images)) % 10).astype(np.uint8))
    d = load("fashion-mnist")

    assert [len(part) for part in d[:3]] == [50_000, 30, 10]
    assert torch.equal(d.validation[:, 0], torch.tensor(x["train"][50_000:]).float() / 255)
    assert d.test.min() == 1
    assert d.labels[1][:3].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "cls", "words"),
    [
        (
            "mnist",
            "MNIST",
            r"Put the files that torchvision.datasets.MNIST expects into .*MNIST/raw",
        ),
        (
            "fashion-mnist",
            "FashionMNIST",
            r"FashionMNIST expects into .*FashionMNIST/raw, or set PYRO_VAE_DATA",
        ),
        ("omniglot", "Omniglot", r"Omniglot expects into .*omniglot-py"),
        ("static-mnist", None, r"there is no .*binarized_mnist.npz. Put there .* \[50000, 98\]"),
    ],
)
def test_without_network_the_message_says_what_to_put_where(
    name, cls, words, tmp_path, monkeypatch
):
    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    if cls:
        monkeypatch.setattr(getattr(torchvision.datasets, cls), "download", offline)
    with pytest.raises(ValueError, match=words) as caught:
        load(name)
    assert str(tmp_path) in str(caught.value) and "digits needs nothing" in str(caught.value)


# Files of one's own


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


def images(folder, values, dtype=np.uint8, suffix="png", size=(4, 3)):
    folder.mkdir(exist_ok=True, parents=True)
    for i, value in enumerate(values):
        Image.fromarray(np.full(size, value, dtype)).save(folder / f"{i}.{suffix}")


def test_folder_of_images_labelled_by_subfolder(tmp_path):
    images(tmp_path / "cats", range(0, 10))
    images(tmp_path / "dogs", range(200, 210))
    (tmp_path / "notes.txt").write_text("not an image")
    d = load(tmp_path)

    assert d.train.shape == (16, 1, 4, 3)
    assert torch.equal(
        in_order(d)[:, 0, 0, 0] * 255, torch.tensor([*range(10), *range(200, 210)]).float()
    )
    assert all(
        torch.equal(x[:, 0, 0, 0] > 0.5, y == 1) for x, y in zip(d[:3], d.labels, strict=True)
    )


@pytest.mark.parametrize(
    ("suffix", "dtype", "size", "channels"),
    [
        ("png", np.uint8, (4, 3), 1),
        ("png", np.uint16, (4, 3), 1),
        ("png", np.uint8, (4, 3, 3), 3),
        ("jpg", np.uint8, (4, 3), 1),
        ("webp", np.uint8, (4, 3, 3), 3),
        ("bmp", np.uint8, (4, 3), 1),
        ("tif", np.uint16, (4, 3), 1),
        ("gif", np.uint8, (4, 3, 3), 3),
    ],
)
def test_images_are_scaled_by_their_own_white(suffix, dtype, size, channels, tmp_path):
    white = np.iinfo(dtype).max
    images(tmp_path / "flat", [0, white, white], dtype, suffix, size)
    d = load(tmp_path / "flat")

    assert d.train.shape == (1, channels, 4, 3) and d.labels is None
    assert sorted(everything(d).flatten(1).mean(1).tolist()) == pytest.approx([0, 1, 1], abs=0.01)


# What is refused


def truncated(write, name):
    def make(path):
        write(path / name)
        (path / name).write_bytes((path / name).read_bytes()[:-100])
        return path / name

    return make


def written(name, content=b""):
    def make(path):
        (path / name).write_bytes(content)
        return path / name

    return make


def saved(name, **arrays):
    def make(path):
        np.savez(path / name, **arrays)
        return path / name

    return make


def folder(*calls):
    def make(path):
        for values, options in calls:
            images(path / f"{len(list(path.iterdir()))}", values, **options)
        return path

    return make


def broken_image(path):
    images(path, [1, 2, 3], size=(50, 50))
    (path / "1.png").write_bytes((path / "1.png").read_bytes()[:60])
    return path


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
    "empty folder": (lambda path: path, "there is no image in the folder"),
    "sizes differ": (
        folder(([1, 2], {}), ([3], {"size": (4, 4)})),
        r"has shape \(1, 4, 4\), .* all images must be",
    ),
    "channels differ": (
        folder(([1, 2], {}), ([3], {"size": (4, 3, 3)})),
        r"one size and number of channels",
    ),
    "broken image": (
        lambda path: written("x.png", b"no image")(path).parent,
        "cannot read the image",
    ),
    "truncated image": (broken_image, "cannot read the image"),
    "two images": (folder(([1, 2], {})), "has 2 rows; at least 3 are needed"),
    "two rows": (saved("x.npz", x=X[:2]), "x.npz has 2 rows; at least 3 are needed"),
    "a number": (saved("x.npz", x=np.array(3.0)), "has 0 rows; at least 3"),
    "labels short": (saved("x.npz", x=X, y=Y[:5]), "20 rows x and 5 labels y"),
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
