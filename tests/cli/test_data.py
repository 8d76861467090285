import numpy as np
import pytest
import torch

from pyro_vae.cli.data import DYNAMIC, NONE, load_data
from pyro_vae.cli.stories.story import arrange_plainly, load_dataset

GREY = np.linspace(0.1, 0.9, 60, dtype=np.float32).reshape(20, 3)


def load(folder, likelihood="bernoulli", **arrays):
    np.savez(folder / "own.npz", **arrays)
    config = {"data": folder / "own.npz", "likelihood": likelihood}
    return load_data(config, load_dataset, arrange_plainly)


def test_grey_data_are_binarised_once_for_validation_and_test(tmp_path):
    data, again = (load(tmp_path, x=GREY) for _ in range(2))
    train, validation, test = data.dataset[:3]
    assert (data.train, data.validation, data.test) == ((train,), (validation,), (test,))

    assert data.binarisation == DYNAMIC
    assert ((train > 0) & (train < 1)).all()
    assert all(set(x.unique().tolist()) <= {0.0, 1.0} for x in (validation, test))
    assert torch.equal(test, again.dataset.test)


@pytest.mark.parametrize(
    "likelihood, x",
    [("normal", GREY), ("bernoulli", GREY.round()), ("bernoulli", 3 * GREY)],
    ids=["another likelihood", "binary", "beyond 1"],
)
def test_other_data_stay_as_they_are(tmp_path, likelihood, x):
    data = load(tmp_path, likelihood, x=x)
    rows = torch.cat(data.dataset[:3])

    assert data.binarisation == NONE
    assert torch.equal(rows[rows[:, 0].argsort()], torch.tensor(x[x[:, 0].argsort()]))


@pytest.mark.parametrize(
    "test, said",
    [
        (3 * GREY, r"train has grey values in \[0, 1\], and test runs from 0.3 to 2.7"),
        (GREY * np.nan, "test holds values that are NaN or infinite"),
    ],
)
def test_only_some_splits_are_grey(tmp_path, test, said):
    with pytest.raises(ValueError, match=said):
        load(tmp_path, train=GREY, valid=GREY, test=test)
