"""Files of arrays. Only plain numbers are read, so nothing in a file can run code."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data.dataset import Dataset
from pyro_vae.data.splits import split

Arrays = dict[str, np.ndarray | Tensor]


def read_file(path: Path) -> Dataset:
    """Read a file of arrays by its suffix.

    Raises:
        ValueError: if the suffix is unknown, the file cannot be read, or its arrays cannot be used.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        known = ", ".join(READERS)
        raise ValueError(
            f"data: {path} ends in {path.suffix!r}, expected {known} or a folder of images"
        )

    try:
        arrays = READERS[suffix](path)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"data: cannot read {path} ({type(error).__name__}: {reason}). "
            "Only plain arrays and tensors are read; "
            "pickled objects are refused, because opening them can run code."
        ) from error

    tensors = {name: _as_tensor(name, array, path) for name, array in arrays.items()}
    return _own_splits(tensors, path) or _one_array(tensors, path)


def _read_npy(path: Path) -> Arrays:
    return {"x": np.load(path, allow_pickle=False)}


def _read_npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_csv(path: Path) -> Arrays:
    table = np.loadtxt(
        path,
        delimiter=",",
        skiprows=int(_has_header(path)),
        ndmin=2,
        dtype=np.float32,
        encoding="utf-8-sig",
    )
    return {"x": table}


def _has_header(path: Path) -> bool:
    with open(path, encoding="utf-8-sig") as file:
        cells = file.readline().strip().split(",")
    try:
        for cell in cells:
            float(cell)
    except ValueError:
        return True
    return False


def _read_pt(path: Path) -> Arrays:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict):
        return {str(key): value for key, value in content.items()}
    return {"x": content}


READERS: dict[str, Callable[[Path], Arrays]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".pt": _read_pt,
}


def _as_tensor(name: str, array: np.ndarray | Tensor, path: Path) -> Tensor:
    """Labels as they are, fractions as float32, bytes scaled to [0, 1], other integers as int64."""
    if isinstance(array, np.ndarray):
        array = _from_numpy(name, array, path)
    if not isinstance(array, Tensor):
        raise ValueError(f"data: {name!r} in {path} is not an array of numbers")

    if name in ("y", "lengths") or name.endswith(("_y", "_lengths")):
        return array
    if array.dtype == torch.uint8:
        return _scale_bytes(array)
    if array.is_floating_point() or array.dtype == torch.bool:
        return array.float()
    return array.long()


def _from_numpy(name: str, array: np.ndarray, path: Path) -> Tensor:
    kind = array.dtype.kind
    if kind not in "biuf":
        raise ValueError(f"data: {name!r} in {path} is not an array of numbers")

    # torch knows neither foreign byte orders nor long doubles
    dtype = np.float32 if kind == "f" else array.dtype.newbyteorder("=")
    return torch.as_tensor(array.astype(dtype))


def _scale_bytes(x: Tensor) -> Tensor:
    """Bytes in [0, 1]. Where all are 0 or 1 they stay as they are."""
    is_grey = x.numel() > 0 and bool(x.max() > 1)
    return x.float() / 255 if is_grey else x.float()


def _own_splits(tensors: Mapping[str, Tensor], path: Path) -> Dataset | None:
    """The splits that a file names, or None if it names none."""
    train, test = tensors.get("train"), tensors.get("test")
    validation = tensors.get("valid", tensors.get("validation"))
    if train is None or validation is None or test is None:
        return None

    splits = (train, validation, test)
    shapes = {tuple(x.shape[1:]) for x in splits}
    is_empty = any(x.dim() == 0 or len(x) == 0 for x in splits)
    if len(shapes) > 1 or is_empty:
        raise ValueError(
            f"data: the splits in {path} have event shapes {sorted(shapes)} "
            "and must have one, and rows"
        )
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        labels=None,
        description=f"{path.name}, its own splits",
        lengths=_find_lengths(tensors, splits, path),
    )


def _find_lengths(
    tensors: Mapping[str, Tensor], splits: tuple[Tensor, ...], path: Path
) -> tuple[Tensor, ...] | None:
    """The lengths of the sequences of each split, where the file has them."""
    validation = "valid" if "valid" in tensors else "validation"
    names = [f"{split}_lengths" for split in ("train", validation, "test")]
    lengths = tuple(tensors[name] for name in names if name in tensors)
    if not lengths:
        return None
    if [len(given) for given in lengths] != [len(x) for x in splits]:
        raise ValueError(f"data: expected {', '.join(names)} in {path}, one for each row")
    return lengths


def _one_array(tensors: Mapping[str, Tensor], path: Path) -> Dataset:
    """The array x, or the only one beside the labels y and lengths, split at random."""
    y, lengths = tensors.get("y"), tensors.get("lengths")
    others = [x for name, x in tensors.items() if name not in ("y", "lengths")]
    only = others[0] if len(others) == 1 else None
    x = tensors.get("x", only)
    if x is None:
        names = ", ".join(tensors)
        raise ValueError(
            f"data: {path} has the arrays {names}; "
            "expected x (and y, and lengths), or train, validation and test"
        )
    return split(x, y, path.name, lengths=lengths)
