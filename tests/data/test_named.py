"""Sets by name: fixed splits, the formats of their files, and what is said without them."""

import hashlib
import os
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from pyro_vae.data import load
from tests.datasets import everything


def found(name, *files):
    folder = os.environ.get("PYRO_VAE_DATA")
    if not folder or not all((Path(folder) / file).exists() for file in files):
        pytest.skip(f"{name} is not in the folder that PYRO_VAE_DATA names ({folder or 'not set'})")
    return load(name)


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


def test_blood_cells_have_their_library_sizes():
    d = found("pbmc68k", "pbmc68k.npz")
    assert [tuple(x.shape) for x in d[:3]] == [(500, 765), (60, 765), (140, 765)]
    assert [tuple(y.shape) for y in d.labels] == [tuple(n.shape) for n in d.covariates]
    for x, size in zip(d[:3], d.covariates, strict=True):
        share = x.sum(-1) / size
        assert (x == x.round()).all() and x.min() == 0
        assert share.min() > 0.1 and share.max() < 0.3


def test_cells_are_split_with_their_labels_and_sizes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    i = np.arange(700)
    np.savez(tmp_path / "pbmc68k.npz", x=i[:, None] + np.zeros((1, 3), np.int16), y=i, n_counts=i)
    d = load("pbmc68k")
    for x, y, size in zip(d[:3], d.labels, d.covariates, strict=True):
        assert torch.equal(x[:, 0].long(), y) and torch.equal(size.long(), y)
    assert sorted(torch.cat(d.labels).tolist()) == i.tolist()


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


def test_jsb_chorales():
    d = found("jsb-chorales", "jsb-quarter.json")

    assert [tuple(x.shape) for x in d[:3]] == [(229, 129, 88), (76, 144, 88), (77, 160, 88)]
    assert [int(n.sum()) for n in d.lengths] == [13_807, 4_602, 4_725]
    assert [int(n.max()) for n in d.lengths] == [129, 144, 160]
    for x, lengths in zip(d[:3], d.lengths, strict=True):
        is_beyond = torch.arange(x.shape[1]) >= lengths.unsqueeze(-1)
        assert not x[is_beyond].any() and 3 < x[~is_beyond].sum(-1).mean() < 4


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
        ("jsb-chorales", None, r"there is no .*jsb-quarter.json. Put there .* MIDI numbers"),
        ("pbmc68k", None, r"there is no .*pbmc68k.npz. Put there counts .*n_counts \[700\]"),
        ("static-mnist", None, r"there is no .*binarized_mnist.npz. Put there .* \[50000, 98\]"),
        ("20news", None, r"there is no .*20news.npz. Put there documents .*20news-vocabulary.txt"),
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
