"""Bags of words: documents as sparse counts, and as tensors."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.arguments import check_positive, check_whole
from pyro_vae.data.dataset import Dataset

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LIMIT = 4e9  # bytes of a dense tensor
HELD_OUT = 10  # every tenth document of the training file is for validation


def to_dense(
    counts: Any,
    *,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
    limit: float = LIMIT,
) -> Tensor:
    """Sparse counts as a dense tensor, `[n, size]`.

    11,000 documents over 2,000 words take 88 MB in float32. Where all documents take too much, go
    through them with `iterate_dense`.

    Arguments:
        counts: A sparse matrix of SciPy's, `[n, size]`. Or a tuple `(indptr, words, counts)`, where
            document i has the words `words[indptr[i]:indptr[i + 1]]`, each as often as `counts`
            says.
        size: The number of words. A tuple needs it.
        dtype: The type of the tensor.
        limit: The most bytes that the tensor may take, by default 4e9.

    Raises:
        TypeError: if `counts` is neither.
        ValueError: if the tensor would exceed the limit, or the parts of a tuple do not fit
            together.

    Example:
        >>> to_dense(([0, 2, 3], [0, 2, 1], [1, 5, 2]), size=3)
        tensor([[1., 0., 5.],
                [0., 2., 0.]])
    """
    matrix = _as_matrix(counts, size)
    limit = check_positive("limit", limit)
    n, width = matrix.shape  # type: ignore[misc]  # a matrix has two dimensions
    needed = n * width * dtype.itemsize
    if needed > limit:
        raise ValueError(
            f"counts: {n} x {width} numbers take {needed:.3g} bytes as a dense tensor, more than "
            f"the limit of {limit:.3g}. Keep the commonest words, go block by block with "
            "pyro_vae.data.iterate_dense, or raise limit="
        )

    dense = torch.zeros(n, width, dtype=dtype)
    entries = matrix.tocoo()
    place = (torch.as_tensor(entries.row).long(), torch.as_tensor(entries.col).long())
    values = torch.as_tensor(entries.data).to(dtype)

    return dense.index_put_(place, values, accumulate=True)


def iterate_dense(
    counts: Any, rows: int, *, size: int | None = None, dtype: torch.dtype = torch.float32
) -> Iterator[Tensor]:
    """Sparse counts as dense tensors, so many rows at a time.

    Arguments:
        counts, size, dtype: See `to_dense`.
        rows: The rows of a block. The last may have fewer.

    Raises:
        TypeError, ValueError: see `to_dense`.

    Example:
        >>> counts = ([0, 2, 3, 3], [0, 2, 1], [1, 5, 2])
        >>> [block.shape[0] for block in iterate_dense(counts, 2, size=3)]
        [2, 1]
    """
    matrix, rows = _as_matrix(counts, size), check_whole("rows", rows)
    blocks = [slice(start, start + rows) for start in range(0, matrix.shape[0], rows)]

    return (to_dense(matrix[block], dtype=dtype) for block in blocks)


def _as_matrix(counts: Any, size: int | None) -> "csr_matrix":
    # it takes a third of a second to import
    from scipy.sparse import issparse

    if issparse(counts) and len(counts.shape) == 2:
        if size not in (None, counts.shape[1]):
            raise ValueError(f"size: the matrix has {counts.shape[1]} words, got size={size}")
        return counts.tocsr()
    if not isinstance(counts, tuple) or len(counts) != 3:
        raise TypeError(
            "counts: expected a sparse matrix of SciPy's or a tuple (indptr, words, counts), got "
            f"{type(counts).__name__}"
        )
    if size is None:
        raise ValueError(
            "size: a tuple (indptr, words, counts) needs the number of words, got None"
        )

    indptr, words, numbers = map(np.asarray, counts)
    return _join_parts(indptr, words, numbers, check_whole("size", size))


def _join_parts(
    indptr: np.ndarray, words: np.ndarray, counts: np.ndarray, size: int
) -> "csr_matrix":
    from scipy.sparse import csr_matrix

    ends = indptr.astype(np.int64)
    is_rising = ends.size > 1 and ends[0] == 0 and bool((np.diff(ends) >= 0).all())
    if not is_rising or not ends[-1] == len(words) == len(counts):
        raise ValueError(
            "counts: expected indptr to rise from 0 to the number of words and of counts, got "
            f"indptr {ends.tolist()[:3]}...{ends.tolist()[-1:]} for {len(words)} words and "
            f"{len(counts)} counts"
        )

    places = words.astype(np.int64)
    if places.size and not 0 <= places.min() <= places.max() < size:
        raise ValueError(
            f"counts: expected words from 0 to {size - 1}, got {places.min()} to {places.max()}"
        )

    return csr_matrix((counts, places, ends), shape=(len(ends) - 1, size))


def read_bags(path: Path, vocabulary: Path) -> Dataset:
    """Documents of an .npz of sparse parts, with their vocabulary, a word in each line.

    The arrays are `train_indptr`, `train_words` and `train_counts`, and the same for `test`.

    Raises:
        ValueError: if a file is missing or cannot be read, or its arrays do not fit together.
    """
    for file in (path, vocabulary):
        if not file.exists():
            raise ValueError(
                f"data: there is no {file}. Put there documents as an .npz of train_indptr, "
                "train_words, train_counts, and the same for test; and beside it their vocabulary, "
                f"{vocabulary.name}, a word in each line. Or set PYRO_VAE_DATA to a folder that "
                "has both. The data set digits needs nothing."
            )
    try:
        words = vocabulary.read_text(encoding="utf-8").split()
        with np.load(path, allow_pickle=False) as arrays:
            train, test = (_read_part(arrays, part, len(words)) for part in ("train", "test"))
    except Exception as error:
        raise ValueError(
            f"data: cannot read {path} ({type(error).__name__}: {error}); "
            "it is truncated or another file"
        ) from error

    held_out = torch.arange(len(train)) % HELD_OUT == HELD_OUT - 1
    return Dataset(
        train=train[~held_out],
        validation=train[held_out],
        test=test,
        labels=None,
        description=(
            f"{path.stem}, bags of {len(words)} words; the training file without every tenth "
            "document, those documents, and the test file"
        ),
        vocabulary=tuple(words),
    )


def _read_part(arrays: Any, part: str, size: int) -> Tensor:
    parts = tuple(arrays[f"{part}_{name}"] for name in ("indptr", "words", "counts"))
    return to_dense(parts, size=size)
