import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.classes import hide, read_classes


def dataset(y):
    y = torch.as_tensor(y)
    x = torch.zeros(len(y), 2)
    return pv.data.Dataset(x, x[:2], x[:1], (y, y[:2], y[:1]), "")


def test_labels_become_classes_that_are_numbered_from_0():
    classes = read_classes("condition", "own", dataset([7, 3.0, 9, 3]))
    assert classes.labels == [3, 7, 9] and classes.count == 3
    assert [split.tolist() for split in classes.splits] == [[1, 0, 2, 0], [1, 0], [1]]
    assert classes.vectors[1].tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("known", [0, 1, 5, 6, 17, 30])
def test_known_labels_are_balanced(known):
    y = torch.tensor([0] * 20 + [1] * 7 + [2] * 3)
    hidden = hide(y, known, seed=0)
    counts = [int((hidden == label).sum()) for label in range(3)]

    assert sum(counts) == known and torch.equal(hidden[hidden >= 0], y[hidden >= 0])
    fair = known // 3
    assert all(count >= min(fair, size) for count, size in zip(counts, (20, 7, 3), strict=True))


def test_the_seed_says_which_labels_are_known():
    y = torch.arange(40) % 4
    one, same, other = (hide(y, 8, seed) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(hide(y, None, 0), y)


@pytest.mark.parametrize(
    "known, said",
    [
        (41, "labels: expected at most the 40 labels of the training data, got 41"),
        (-1, "labels: expected a whole number of at least 0, got -1"),
    ],
)
def test_labels_that_are_not_there(known, said):
    with pytest.raises(ValueError, match=said):
        hide(torch.arange(40) % 4, known, 0)


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("own", dataset([0, 1])._replace(labels=None), "pair: the data own have no labels. Take"),
        ("own", dataset([0.5, 1.0]), "pair: expected labels that are whole numbers, got torch.flo"),
        ("omniglot", dataset([0, 1]), "pair: the test split of omniglot has other classes than"),
    ],
)
def test_labels_that_are_no_classes(name, data, said):
    with pytest.raises(ValueError, match=said):
        read_classes("pair", name, data)
