"""Bags of words: sparse counts become dense ones, whole and in blocks."""

import numpy as np
import pytest
import scipy.sparse
import torch

import pyro_vae as pv
from pyro_vae.data.bags import iterate_dense, read_bags, to_dense
from tests.scripts import needs

TRUTH = torch.tensor([[1.0, 0.0, 5.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
PARTS = ([0, 2, 3, 3, 4], [0, 2, 1, 2], [1, 5, 2, 1])


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_a_sparse_matrix_and_its_parts_are_the_same_table(form):
    matrix = scipy.sparse.coo_matrix(TRUTH.numpy()).asformat(form)
    assert torch.equal(to_dense(matrix), TRUTH)
    assert torch.equal(to_dense(PARTS, size=3), TRUTH)
    assert to_dense(matrix, dtype=torch.float64).dtype == torch.float64


def test_a_word_that_is_listed_twice_is_added_up():
    assert to_dense(([0, 2], [1, 1], [2, 3]), size=2).tolist() == [[0.0, 5.0]]


def test_narrow_types_of_a_file_are_no_matter():
    parts = tuple(np.array(part, dtype) for part, dtype in zip(PARTS, ("i4", "u2", "u2")))
    assert torch.equal(to_dense(parts, size=3), TRUTH)


@pytest.mark.parametrize("rows", [1, 3, 4, 9])
def test_blocks_are_the_rows_of_the_whole(rows):
    blocks = list(iterate_dense(PARTS, rows, size=3))
    assert torch.equal(torch.cat(blocks), TRUTH)
    assert {len(block) for block in blocks[:-1]} <= {rows}


@pytest.mark.parametrize(
    ("counts", "size", "error", "words"),
    [
        (TRUTH, 3, TypeError, "expected a sparse matrix of SciPy's or a tuple .*, got Tensor"),
        (PARTS[:2], 3, TypeError, "got tuple"),
        (PARTS, None, ValueError, "size: a tuple .* needs the number of words"),
        (PARTS, 0, ValueError, "size: expected a positive whole number"),
        (PARTS, 2, ValueError, "expected words from 0 to 1, got 0 to 2"),
        (([0, 3, 2], [0, 1], [1, 1]), 3, ValueError, "indptr to rise from 0"),
        (([0, 1], [0, 1], [1, 1]), 3, ValueError, "for 2 words and 2 counts"),
        (([], [], []), 3, ValueError, "indptr to rise from 0"),
        (scipy.sparse.eye(3), 4, ValueError, "size: the matrix has 3 words, got size=4"),
    ],
)
def test_what_does_not_fit_is_refused(counts, size, error, words):
    with pytest.raises(error, match=words):
        to_dense(counts, size=size)


def test_a_tensor_beyond_the_limit_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"4 x 3 numbers take 48 bytes .* limit of 40.*iterate_"):
        to_dense(PARTS, size=3, limit=40)
    assert torch.equal(to_dense(PARTS, size=3, limit=48), TRUTH)
    huge = scipy.sparse.csr_matrix((10**6, 10**6))
    with pytest.raises(ValueError, match="limit of 4e\\+09"):
        to_dense(huge)


def test_rows_must_be_a_positive_number():
    with pytest.raises(ValueError, match="rows: expected a positive whole number"):
        iterate_dense(PARTS, 0, size=3)


def write(folder, **arrays):
    np.savez(folder / "some.npz", **arrays)
    (folder / "words.txt").write_text("one\ntwo\nthree\n")
    return folder / "some.npz", folder / "words.txt"


def parts_of(part):
    return {f"{part}_{name}": a for name, a in zip(("indptr", "words", "counts"), PARTS)}


def test_a_file_is_split_by_every_tenth_document(tmp_path):
    indptr, words = np.arange(31), np.arange(30) % 3
    train = {"train_indptr": indptr, "train_words": words, "train_counts": np.arange(30) + 1}
    d = read_bags(*write(tmp_path, **train, **parts_of("test")))
    assert [len(x) for x in d.splits.values()] == [27, 3, 4]
    assert d.validation.sum(1).tolist() == [10.0, 20.0, 30.0]
    assert torch.equal(d.test, TRUTH)
    assert d.vocabulary == ("one", "two", "three")


@pytest.mark.parametrize("damage", ["truncated", "other arrays", "too few words"])
def test_a_file_that_cannot_be_read(damage, tmp_path):
    arrays = parts_of("train") if damage == "other arrays" else parts_of("train") | parts_of("test")
    path, vocabulary = write(tmp_path, **arrays)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    if damage == "too few words":
        vocabulary.write_text("one\n")
    with pytest.raises(ValueError, match=r"data: cannot read .*some.npz"):
        read_bags(path, vocabulary)


def test_newsgroups():
    needs("20news.npz")
    d = pv.data.load("20news")
    assert [tuple(x.shape) for x in d.splits.values()] == [
        (10093, 3072),
        (1121, 3072),
        (7531, 3072),
    ]
    assert len(set(d.vocabulary)) == 3072
    assert all(x.min() == 0 and torch.equal(x, x.round()) for x in d.splits.values())
