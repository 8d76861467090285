"""Files of arrays. Only plain numbers are read, so nothing in a file can run code."""

import csv
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data.dataset import Dataset
from pyro_vae.data.limits import check_archive, check_fits
from pyro_vae.data.splits import split

Arrays = dict[str, np.ndarray]
BLOCK = 2**20  # numbers that are converted at a time
AS_THEY_ARE = ("y", "lengths")  # labels and lengths, which are not scaled


def read_file(path: Path) -> Dataset:
    """Read a file of arrays by its suffix.

    Raises:
        ValueError: if the suffix is unknown, the file cannot be read, its arrays cannot be used, or
            they do not fit into memory.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        known = ", ".join(READERS)
        raise ValueError(
            f"data: {path} ends in {path.suffix!r}, expected {known} or a folder of images"
        )

    check_archive(path)
    try:
        contents = READERS[suffix](path)
    except Exception as error:
        reason = str(error).splitlines()[0]
        if suffix == ".csv" and "could not convert string" in reason:
            reason += "; columns of words are for pv.data.table, and for --pair table"
        raise ValueError(
            f"data: cannot read {path} ({type(error).__name__}: {reason}). "
            "Only plain arrays and tensors are read; "
            "pickled objects are refused, because opening them can run code."
        ) from error

    arrays = {name: _as_array(name, values, path) for name, values in contents.items()}
    check_fits(path, sum(x.size * _find_type(name, x).itemsize for name, x in arrays.items()))
    return _own_splits(arrays, path) or _one_array(arrays, path)


def _read_npy(path: Path) -> dict:
    # a map that copies what is written to, so that the file stays as it is
    return {"x": np.load(path, mmap_mode="c", allow_pickle=False)}


def _read_npz(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_csv(path: Path) -> dict:
    has_header, has_index = _read_first_row(path)
    try:
        table = _read_table(path, has_header)
    except ValueError:  # an empty cell is a value that is missing; to look for them is slow
        table = _read_table(path, has_header, converters=_read_cell)
    if has_index and np.array_equal(table[:, 0], np.arange(len(table))):
        raise ValueError(
            "the first column numbers the rows, as pandas does; write it with "
            "to_csv(path, index=False)"
        )
    return {"x": table}


def _read_table(
    path: Path, has_header: bool, converters: Callable[[str], float] | None = None
) -> np.ndarray:
    return np.loadtxt(
        path,
        delimiter=",",
        skiprows=int(has_header),
        ndmin=2,
        dtype=np.float32,
        encoding="utf-8-sig",
        converters=converters,
    )


def _read_cell(cell: str) -> float:
    return float(cell) if cell.strip() else np.nan


def _read_first_row(path: Path) -> tuple[bool, bool]:
    """Whether the first row is a header, and whether it may be that of a table with an index."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        cells = [cell.strip() for cell in next(csv.reader(file), [])]
    if cells and cells[0].startswith("#"):  # NumPy writes a header as a comment
        return True, False
    filled = [cell for cell in cells if cell]
    numbers = [cell for cell in filled if _is_number(cell)]

    if filled and filled == [str(i) for i in range(len(filled))]:
        warnings.warn(
            f"data: the first row of {path.name}, {','.join(cells[:5])}..., numbers the columns, "
            "as pandas does, and is taken as a header. If it is a row of data, write names above "
            "it.",
            stacklevel=5,
        )
        return True, not cells[0]
    if numbers and len(numbers) < len(filled):
        raise ValueError(
            f"the first row has numbers and words, {','.join(cells[:5])}...; write a header of "
            "words alone, and leave a cell empty where a value is missing"
        )
    return not numbers and bool(filled), not (cells and cells[0])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_pt(path: Path) -> dict:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict):
        return {str(key): value for key, value in content.items()}
    return {"x": content}


READERS: dict[str, Callable[[Path], dict]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".pt": _read_pt,
}


def _as_array(name: str, values: object, path: Path) -> np.ndarray:
    if isinstance(values, Tensor) and not values.is_complex():
        values = values.detach().float() if values.is_floating_point() else values
        values = values.numpy()
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise ValueError(f"data: {name!r} in {path} is not an array of numbers")
    return values


def _find_type(name: str, array: np.ndarray) -> np.dtype:
    """Labels as they are, fractions and bytes as float32, other integers as int64."""
    if _is_label(name):
        # torch knows neither foreign byte orders nor long doubles
        kind = array.dtype.kind
        return np.dtype(np.float32) if kind == "f" else array.dtype.newbyteorder("=")
    is_whole = array.dtype.kind in "iu" and array.dtype != np.uint8
    return np.dtype(np.int64 if is_whole else np.float32)


def _is_label(name: str) -> bool:
    return name in AS_THEY_ARE or name.endswith(tuple(f"_{end}" for end in AS_THEY_ARE))


def _convert(array: np.ndarray, rows: Tensor | None = None, *, scale: bool = False) -> Tensor:
    """The rows of x, or all, as they are trained on, without a copy of the whole beside them."""
    index = np.arange(len(array)) if rows is None else rows.numpy()
    made = np.empty((len(index), *array.shape[1:]), _find_type("x", array))
    step = max(1, BLOCK // max(1, made[:1].size))
    for start in range(0, len(index), step):
        block = slice(start, start + step)
        made[block] = array[index[block]]
    if scale:
        made /= 255
    return torch.from_numpy(made)


def _convert_labels(name: str, array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(_find_type(name, array)))


def _is_grey(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether there are bytes above 1, which are scaled by 255. Zeros and ones stay as they are."""
    found = [x for x in arrays.values() if x.dtype == np.uint8]
    return any(x.size > 0 and bool(x.max() > 1) for x in found)


def _own_splits(arrays: Arrays, path: Path) -> Dataset | None:
    """The splits that a file names, or None if it names none."""
    validation = "valid" if "valid" in arrays else "validation"
    names = ("train", validation, "test")
    if not all(name in arrays for name in names):
        return None

    splits = {name: arrays[name] for name in names}
    _check_alike(splits, path)
    is_grey = _is_grey(splits)
    train, held_out, test = (_convert(x, scale=is_grey) for x in splits.values())
    return Dataset(
        train=train,
        validation=held_out,
        test=test,
        labels=None,
        description=f"{path.name}, its own splits",
        lengths=_find_lengths(arrays, splits, path),
    )


def _check_alike(splits: Arrays, path: Path) -> None:
    """Raise a ValueError unless splits have one event shape and rows, and all or none are bytes."""
    shapes = {x.shape[1:] for x in splits.values()}
    is_empty = any(x.ndim == 0 or len(x) == 0 for x in splits.values())
    if len(shapes) > 1 or is_empty:
        raise ValueError(
            f"data: the splits in {path} have event shapes {sorted(shapes)} "
            "and must have one, and rows"
        )
    types = {name: str(x.dtype) for name, x in splits.items()}
    if "uint8" in types.values() and len(set(types.values())) > 1:
        said = ", ".join(f"{name} {dtype}" for name, dtype in types.items())
        raise ValueError(
            f"data: the splits in {path} have types {said}. Bytes are scaled to [0, 1], other "
            "numbers are not; save all of one type."
        )


def _find_lengths(arrays: Arrays, splits: Arrays, path: Path) -> tuple[Tensor, ...] | None:
    """The lengths of the sequences of each split, where the file has them."""
    names = [f"{split}_lengths" for split in splits]
    lengths = tuple(_convert_labels(name, arrays[name]) for name in names if name in arrays)
    if not lengths:
        return None
    if [len(given) for given in lengths] != [len(x) for x in splits.values()]:
        raise ValueError(f"data: expected {', '.join(names)} in {path}, one for each row")
    return lengths


def _one_array(arrays: Arrays, path: Path) -> Dataset:
    """The array x, or the only one beside the labels y and lengths, split at random."""
    others = [x for name, x in arrays.items() if name not in AS_THEY_ARE]
    only = others[0] if len(others) == 1 else None
    x = arrays.get("x", only)
    if x is None:
        names = ", ".join(arrays)
        raise ValueError(
            f"data: {path} has the arrays {names}; "
            "expected x (and y, and lengths), or train, validation and test"
        )
    y, lengths = (
        _convert_labels(name, arrays[name]) if name in arrays else None for name in AS_THEY_ARE
    )

    rows = split(torch.arange(len(x) if x.ndim else 0), y, path.name, lengths=lengths)
    is_grey = _is_grey({"x": x})
    train, validation, test = (_convert(x, index, scale=is_grey) for index in rows[:3])
    return rows._replace(train=train, validation=validation, test=test)
