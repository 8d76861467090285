"""Data sets as tensors in memory, by name or from the user's own files, with fixed splits."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
WHITE = {
    "1": 1,
    "L": 255,
    "LA": 255,
    "RGB": 255,
    "RGBA": 255,
    "I;16": 65535,
    "I": 65535,
}  # by mode of Pillow


class Dataset(NamedTuple):
    """A data set, split once and for all.

    Attributes:
        train, validation, test: x, `[n, *event]`; images are `[n, channels, height, width]`, in [0,
            1].
        labels: The labels of the three, `[n]`, or None.
        description: What it is and how it was split.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    labels: tuple[Tensor, Tensor, Tensor] | None
    description: str

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{name} {tuple(getattr(self, name).shape)}" for name in ("train", "validation", "test")
        )
        return f"Dataset({sizes}: {self.description})"


def load(name: str | os.PathLike) -> Dataset:
    """Load a data set by name, or from a file or folder of your own.

    | name | what | split |
    |---|---|---|
    | `digits` | scikit-learn's 1,797 grey 8×8 digits, embedded | 1,297 / 200 / 300, a fixed permutation |
    | `mnist`, `fashion-mnist` | 70,000 grey 28×28 images | training file: first 50,000, last 10,000; test file |
    | `static-mnist` | MNIST, binarised once (Larochelle & Murray, 2011) | 50,000 / 10,000 / 10,000, the files' own |
    | `omniglot` | grey 28×28 characters, ink is 1 | background set, every tenth image held out; evaluation set |

    What is not a name is a path: `.npy`, `.npz`, `.csv` (with or without a header), `.pt` (a
    tensor, or a dict of tensors), or a folder of images (subfolders are labels). Arrays named
    `train`, `validation` (or `valid`) and `test` are the splits; otherwise `x`, or the only array,
    is split 80 / 10 / 10 by a fixed permutation, and `y` are its labels. Bytes are scaled to [0, 1]
    (unless all are 0 or 1). Nothing that is loaded can run code.

    Data sets are looked for, and downloaded to, the folder that the environment variable
    `PYRO_VAE_DATA` names, else the user's cache.

    Raises:
        ValueError: if the name is unknown, or a file is missing, unreadable or of an unusable
            shape; if a data set is missing and cannot be downloaded it says what to put where.

    Example:
        >>> load("digits").train.shape
        torch.Size([1297, 1, 8, 8])
    """
    if str(name) in NAMES:
        return NAMES[str(name)]()
    path = Path(name)
    if not path.exists():
        raise ValueError(
            f"data: {str(name)!r} is neither a file or folder nor one of {', '.join(NAMES)}"
        )
    if path.is_dir():
        return _split(*_folder(path), f"images of the folder {path.name}")
    if path.suffix.lower() not in READERS:
        raise ValueError(
            f"data: {path} ends in {path.suffix!r}, expected {', '.join(READERS)} or a folder of images"
        )
    try:
        arrays = READERS[path.suffix.lower()](path)
    except Exception as error:
        raise ValueError(
            f"data: cannot read {path} ({type(error).__name__}: {str(error).splitlines()[0]}). Only plain arrays "
            "and tensors are read; pickled objects are refused, for opening them can run code."
        ) from error
    return _from_arrays(arrays, path)


def root() -> Path:
    """The folder of data sets: `PYRO_VAE_DATA`, else the user's cache."""
    if os.environ.get("PYRO_VAE_DATA"):
        return Path(os.environ["PYRO_VAE_DATA"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyro_vae"


def binarise(x: Tensor, seed: int = 0) -> Tensor:
    """One Bernoulli draw of each grey value in [0, 1], the same for the same seed."""
    return torch.bernoulli(x, generator=torch.Generator().manual_seed(seed))


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None]
    return _split(x, torch.tensor(bunch.target), "scikit-learn's digits", sizes=(1297, 200, 300))


def _torchvision(name: str, sizes: tuple[int, int]) -> Callable[[], Dataset]:
    def build() -> Dataset:
        import torchvision

        cls = getattr(torchvision.datasets, name)
        train, test = (
            _fetched(name, lambda root, part=part, **kw: cls(root, train=part, **kw))
            for part in (True, False)
        )
        x, y = train.data[:, None].float() / 255, train.targets
        n, _ = sizes
        return Dataset(
            x[:n],
            x[n:],
            test.data[:, None].float() / 255,
            (y[:n], y[n:], test.targets),
            f"{name}, grey; training file split {n} / {len(x) - n}, and the test file",
        )

    return build


def _omniglot() -> Dataset:
    import torchvision
    from torchvision.transforms.functional import pil_to_tensor, resize

    def tensors(background: bool) -> tuple[Tensor, Tensor]:
        found = _fetched(
            "Omniglot",
            lambda root, **kw: torchvision.datasets.Omniglot(root, background=background, **kw),
        )
        pairs = [
            (resize(pil_to_tensor(image), [28, 28], antialias=True), label)
            for image, label in found
        ]
        return 1 - torch.stack([x for x, _ in pairs]).float() / 255, torch.tensor(
            [y for _, y in pairs]
        )

    (x, y), (x_test, y_test) = tensors(True), tensors(False)
    held = torch.arange(len(x)) % 10 == 9
    return Dataset(
        x[~held],
        x[held],
        x_test,
        (y[~held], y[held], y_test),
        "Omniglot, 28×28, ink is 1; the background set but every tenth image, those, the evaluation set",
    )


def _fetched(name: str, make: Callable):
    """A torchvision data set, found at the root or downloaded to it."""
    try:
        return make(root(), download=False)
    except RuntimeError:
        pass
    try:
        root().mkdir(parents=True, exist_ok=True)
        return make(root(), download=True)
    except Exception as error:
        folder = "omniglot-py" if name == "Omniglot" else f"{name}/raw"
        raise ValueError(
            f"data: {name} is not in {root()} and cannot be downloaded ({type(error).__name__}). Put the files that "
            f"torchvision.datasets.{name} expects into {root() / folder}, or set PYRO_VAE_DATA to a folder that has "
            f"{folder}. --data digits needs nothing."
        ) from error


def _static_mnist() -> Dataset:
    path = root() / "binarized_mnist.npz"
    if not path.exists():
        raise ValueError(
            f"data: there is no {path}. Put there the static binarisation of Larochelle & Murray (2011), an .npz of "
            "arrays train [50000, 98], valid and test [10000, 98] of bytes, each row the np.packbits of 784 pixels, "
            "or set PYRO_VAE_DATA to a folder that has it. --data digits needs nothing."
        )
    try:
        with np.load(path, allow_pickle=False) as packed:
            x = [
                torch.from_numpy(np.unpackbits(packed[key], axis=1).reshape(-1, 1, 28, 28)).float()
                for key in ("train", "valid", "test")
            ]
    except Exception as error:
        raise ValueError(
            f"data: cannot read {path} ({type(error).__name__}: {error}); it is truncated or another file"
        ) from error
    return Dataset(
        *x, None, "MNIST, static binarisation of Larochelle & Murray (2011), the files' own split"
    )


NAMES: dict[str, Callable[[], Dataset]] = {
    "digits": _digits,
    "mnist": _torchvision("MNIST", (50_000, 10_000)),
    "fashion-mnist": _torchvision("FashionMNIST", (50_000, 10_000)),
    "omniglot": _omniglot,
    "static-mnist": _static_mnist,
}


def _npz(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as f:
        return dict(f)


def _csv(path: Path) -> dict:
    with open(path, encoding="utf-8-sig") as f:
        first = f.readline().strip().split(",")
    try:
        [float(cell) for cell in first]
        header = 0
    except ValueError:
        header = 1
    return {
        "x": np.loadtxt(
            path, delimiter=",", skiprows=header, ndmin=2, dtype=np.float32, encoding="utf-8-sig"
        )
    }


def _pt(path: Path) -> dict:
    held = torch.load(path, map_location="cpu", weights_only=True)
    return (
        {str(key): value for key, value in held.items()} if isinstance(held, dict) else {"x": held}
    )


READERS: dict[str, Callable[[Path], dict]] = {
    ".npy": lambda path: {"x": np.load(path, allow_pickle=False)},
    ".npz": _npz,
    ".csv": _csv,
    ".pt": _pt,
}


def _from_arrays(arrays: dict, path: Path) -> Dataset:
    tensors = {}
    for key, value in arrays.items():
        if not isinstance(value, np.ndarray | Tensor) or (
            isinstance(value, np.ndarray) and value.dtype.kind not in "biuf"
        ):
            raise ValueError(f"data: {key!r} in {path} is not an array of numbers")
        if isinstance(
            value, np.ndarray
        ):  # torch knows neither foreign byte orders nor long doubles
            value = value.astype(
                np.float32 if value.dtype.kind == "f" else value.dtype.newbyteorder("=")
            )
        value = torch.as_tensor(value)
        if key == "y" or key.endswith("_y"):
            tensors[key] = value
        elif value.dtype == torch.uint8:
            tensors[key] = value.float() / (255 if value.numel() and value.max() > 1 else 1)
        else:
            tensors[key] = (
                value.float()
                if value.is_floating_point() or value.dtype == torch.bool
                else value.long()
            )
    tensors["validation"] = tensors.pop("valid", tensors.get("validation"))
    named = [tensors.get(key) for key in ("train", "validation", "test")]
    if all(t is not None for t in named):
        shapes = {tuple(t.shape[1:]) for t in named}
        if len(shapes) > 1 or any(t.dim() == 0 or not len(t) for t in named):
            raise ValueError(
                f"data: the splits in {path} have event shapes {sorted(shapes)} and must have one, and rows"
            )
        return Dataset(*named, None, f"{path.name}, its own splits")
    others = [t for key, t in tensors.items() if t is not None and key != "y"]
    x = tensors.get("x", others[0] if len(others) == 1 else None)
    if x is None:
        raise ValueError(
            f"data: {path} has the arrays {', '.join(arrays)}; expected x (and y), or train, validation and test"
        )
    return _split(x, tensors.get("y"), path.name)


def _folder(path: Path) -> tuple[Tensor, Tensor | None]:
    from PIL import Image

    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGES)
    if not files:
        raise ValueError(
            f"data: there is no image in the folder {path}; known are {', '.join(IMAGES)}"
        )
    images = []
    for file in files:
        try:
            with Image.open(file) as held:
                image = held if held.mode in WHITE else held.convert("RGB")
                pixels = torch.from_numpy(np.array(image, dtype=np.float32)) / WHITE[image.mode]
        except Exception as error:
            raise ValueError(
                f"data: cannot read the image {file} ({type(error).__name__}: {error})"
            ) from error
        images.append(pixels[None] if pixels.dim() == 2 else pixels.movedim(-1, 0))
        if images[-1].shape != images[0].shape:
            raise ValueError(
                f"data: {file} has shape {tuple(images[-1].shape)}, {files[0]} has {tuple(images[0].shape)}; "
                "all images must be of one size and number of channels"
            )
    classes = sorted({file.parent for file in files})
    labels = (
        torch.tensor([classes.index(file.parent) for file in files]) if len(classes) > 1 else None
    )
    return torch.stack(images), labels


def _split(
    x: Tensor, y: Tensor | None, source: str, sizes: tuple[int, int, int] | None = None
) -> Dataset:
    """Split by a permutation that never changes (NumPy's legacy generator, seed 0)."""
    n = x.shape[0] if x.dim() else 0
    if n < 3:
        raise ValueError(f"data: {source} has {n} rows; at least 3 are needed, one for each split")
    if y is not None and len(y) != n:
        raise ValueError(f"data: {source} has {n} rows x and {len(y)} labels y")
    if sizes is None:
        part = max(1, n // 10)
        sizes = (n - 2 * part, part, part)
    order = torch.from_numpy(np.random.RandomState(0).permutation(n)).split(list(sizes))
    labels = None if y is None else tuple(y[index] for index in order)
    return Dataset(
        *(x[index] for index in order),
        labels,
        f"{source}, split {' / '.join(map(str, sizes))} at random",
    )
