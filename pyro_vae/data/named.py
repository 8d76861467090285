"""Data sets by name, and the folder they are kept in."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data.bags import read_bags
from pyro_vae.data.dataset import Dataset
from pyro_vae.data.rolls import read_rolls
from pyro_vae.data.splits import split


def root() -> Path:
    """The folder of data sets: what `PYRO_VAE_DATA` names, else a folder in the user's cache."""
    named = os.environ.get("PYRO_VAE_DATA")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "pyro_vae"


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    y = torch.tensor(digits.target)
    return split(x, y, "scikit-learn's digits", sizes=(1297, 200, 300))


def _like_mnist(name: str) -> Dataset:
    """A set of torchvision with the files of MNIST. The last of its training file are held out."""
    train = _fetch(name, f"{name}/raw", train=True)
    test = _fetch(name, f"{name}/raw", train=False)
    x, y = _scale(train.data), train.targets
    n = 50_000
    description = f"{name}, grey; training file split {n} / {len(x) - n}, and the test file"
    return Dataset(
        train=x[:n],
        validation=x[n:],
        test=_scale(test.data),
        labels=(y[:n], y[n:], test.targets),
        description=description,
    )


def _scale(images: Tensor) -> Tensor:
    return images[:, None].float() / 255


def _omniglot() -> Dataset:
    x, y = _characters(background=True)
    x_test, y_test = _characters(background=False)
    held_out = torch.arange(len(x)) % 10 == 9
    return Dataset(
        train=x[~held_out],
        validation=x[held_out],
        test=x_test,
        labels=(y[~held_out], y[held_out], y_test),
        description=(
            "Omniglot, 28×28, ink is 1; the background set without every tenth image, "
            "those images, and the evaluation set"
        ),
    )


def _characters(background: bool) -> tuple[Tensor, Tensor]:
    from torchvision.transforms.functional import pil_to_tensor, resize

    images, labels = [], []
    for image, label in _fetch("Omniglot", "omniglot-py", background=background):
        images.append(resize(pil_to_tensor(image), [28, 28], antialias=True))
        labels.append(label)
    return 1 - torch.stack(images).float() / 255, torch.tensor(labels)


def _fetch(name: str, folder: str, **part: bool) -> Any:
    """One part of a torchvision data set, read from the root or downloaded to it."""
    import torchvision

    make = partial(getattr(torchvision.datasets, name), root(), **part)
    try:
        return make(download=False)
    except RuntimeError:
        pass  # it is not there yet
    try:
        root().mkdir(parents=True, exist_ok=True)
        return make(download=True)
    except Exception as error:
        raise ValueError(
            f"data: {name} is not in {root()} and cannot be downloaded ({type(error).__name__}). "
            f"Put the files that torchvision.datasets.{name} expects into {root() / folder}, "
            f"or set PYRO_VAE_DATA to a folder that has {folder}. "
            "The data set digits needs nothing."
        ) from error


def _static_mnist() -> Dataset:
    content = (
        "the static binarisation of Larochelle & Murray (2011), an .npz of arrays train "
        "[50000, 98], valid and test [10000, 98] of bytes, each row the np.packbits of 784 pixels"
    )
    arrays = _read_arrays("binarized_mnist.npz", ("train", "valid", "test"), content)
    train, validation, test = map(_unpack, arrays)

    description = "MNIST, static binarisation of Larochelle & Murray (2011), the files' own split"
    return Dataset(train, validation, test, None, description)


def _read_arrays(file: str, names: Sequence[str], content: str) -> list[np.ndarray]:
    """Arrays of an .npz in the root."""
    path = root() / file
    if not path.exists():
        raise ValueError(
            f"data: there is no {path}. Put there {content}, or set PYRO_VAE_DATA to a folder that "
            "has it. The data set digits needs nothing."
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except Exception as error:
        raise ValueError(
            f"data: cannot read {path} ({type(error).__name__}: {error}); "
            "it is truncated or another file"
        ) from error


def _unpack(rows: np.ndarray) -> Tensor:
    pixels = np.unpackbits(rows, axis=1).reshape(-1, 1, 28, 28)
    return torch.from_numpy(pixels).float()


def _newsgroups() -> Dataset:
    return read_bags(root() / "20news.npz", root() / "20news-vocabulary.txt")


def _jsb_chorales() -> Dataset:
    return read_rolls(root() / "jsb-quarter.json")


def _blood_cells() -> Dataset:
    content = (
        "counts of single cells, an .npz of arrays x [700, 765], y [700] (types from 0 to 9) and "
        "n_counts [700] (the counts of all genes)"
    )
    arrays = _read_arrays("pbmc68k.npz", ("x", "y", "n_counts"), content)
    x, y, size = (torch.from_numpy(array) for array in arrays)
    source = "700 of the blood cells of Zheng et al. (2017), counts of 765 genes"
    rows = split(torch.arange(len(x)), y.long(), source, sizes=(500, 60, 140))

    train, validation, test = (x[index].float() for index in rows[:3])
    return rows._replace(
        train=train,
        validation=validation,
        test=test,
        covariates=tuple(size[index].float() for index in rows[:3]),
    )


NAMES: dict[str, Callable[[], Dataset]] = {
    "digits": _digits,
    "mnist": partial(_like_mnist, "MNIST"),
    "fashion-mnist": partial(_like_mnist, "FashionMNIST"),
    "omniglot": _omniglot,
    "static-mnist": _static_mnist,
    "20news": _newsgroups,
    "jsb-chorales": _jsb_chorales,
    "pbmc68k": _blood_cells,
}
