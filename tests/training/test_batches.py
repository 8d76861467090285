"""Batches, and the data that are refused."""

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pyro_vae as pv
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.training.batches import InMemory, count_arguments
from tests.runs import RUN, Conditional, X, equal, handwritten, make, weights, with_value


@pytest.mark.parametrize("kind", ["VAE", "Pair"])
@pytest.mark.parametrize("labels", [False, True])
def test_loader(kind, labels):
    pair = {"VAE": make, "Pair": handwritten}[kind]()
    before = weights(pair)
    data = TensorDataset(X, torch.arange(len(X))) if labels else TensorDataset(X)
    h = pv.fit(pair, DataLoader(data, batch_size=10, shuffle=True), **RUN)

    assert np.isfinite(h).all()
    assert h.loss[-1] < h.loss[0] - 0.1
    assert not any(torch.equal(p, before[name]) for name, p in pair.named_parameters())


@pytest.mark.parametrize("source", ["memory", "loader"])
def test_further_data_follow_x(source):
    y = nn.functional.one_hot(torch.arange(60) % 2).float()
    x = 4 * y @ torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) + 0.5 * torch.randn(60, 3)
    pair = Conditional()
    data = (x, y) if source == "memory" else (DataLoader(TensorDataset(x, y), 10, shuffle=True),)
    h = pv.fit(pair, *data, epochs=25, batch_size=10, learning_rate=0.02, validation=(x, y), seed=0)
    right, wrong = (
        pv.diagnostics.elbo(pair, x, labels, num_samples=20).value.mean() for labels in (y, 1 - y)
    )

    assert h.elbo[-1] > h.elbo[0] + 2
    assert right > wrong + 2


class Picky(Conditional, ChecksData):
    """A pair that wants some y to be positive, in all of the data and not in each batch."""

    def check_data(self, *data):
        pass

    def check_training(self, *data):
        if not (data[1] > 0).any():
            raise ValueError(f"y: none of {len(data[1])} rows is positive")


def test_a_pair_may_refuse_the_training_data_as_a_whole():
    x, y = torch.randn(20, 3), torch.zeros(20, 2)
    with pytest.raises(ValueError, match="none of 20 rows"):
        pv.fit(Picky(), x, y, epochs=1, batch_size=5)
    # it is not asked about other data, nor about the batches of a loader
    pv.diagnostics.elbo(Picky(), x, y)
    pv.fit(Picky(), DataLoader(TensorDataset(x, y), 5), epochs=1)
    y[0] = 1.0
    pv.fit(Picky(), x, y, epochs=1, batch_size=5, validation=(x[1:], y[1:]))


GREY = torch.tensor([0.5] * 37 + [1.0] * 30 + [0.0] * 33).reshape(20, 5)


@pytest.mark.parametrize(
    ("likelihood", "x", "error", "words"),
    [
        (
            pv.Normal,
            X[:0],
            ValueError,
            r"x is empty: expected at least one row, got shape \[0, 3\]",
        ),
        (
            pv.Normal,
            with_value(float("nan")),
            ValueError,
            r"1 values that are NaN or infinite, in rows \[3\]",
        ),
        (
            pv.Normal,
            with_value(float("-inf")),
            ValueError,
            r"1 values that are NaN or infinite, in rows \[3\]",
        ),
        (
            pv.Normal,
            torch.ones(9, 3).long(),
            TypeError,
            r"made of integers \(torch.int64\), and the support of Normal",
        ),
        (pv.Normal, [[1.0, 2.0, 3.0]], TypeError, "expected a tensor .* got list"),
        (pv.Normal, np.array([["a"] * 3]), TypeError, "expected a tensor .* got ndarray"),
        (pv.Normal, X[:, :2], ValueError, r"event shape of the likelihood, \(3,\), got \[2\]"),
        (
            pv.Normal,
            X[:, :, None],
            ValueError,
            r"\(3,\), got \[3, 1\].* Reshape it: x.reshape\(-1, 3\)",
        ),
        (
            pv.Bernoulli,
            GREY[:, :3] + 1,
            ValueError,
            "not 0 or 1; they run from 1 to 2.*binarise it",
        ),
        (pv.Poisson, with_value(-2.0).round(), ValueError, "not a count; they run from -"),
        (pv.Poisson, X.abs(), ValueError, "support of Poisson: .* Round it to counts"),
        (pv.Gamma, X, ValueError, "support of Gamma: .* positive"),
        (pv.Beta, X, ValueError, r"support of Beta: .* not in \[0, 1\].* Scale it"),
        (
            pv.Beta,
            X.sigmoid().index_fill(0, torch.tensor(4), 0.0),
            ValueError,
            r"log p\(x \| z\) is .* at row 4 .*clamp\(1e-3",
        ),
    ],
)
@pytest.mark.parametrize("role", ["data", "validation"])
def test_bad_data(likelihood, x, error, words, role):
    pair = make(likelihood)
    good = {pv.Bernoulli: torch.ones, pv.Poisson: torch.ones}.get(
        likelihood, partial(torch.full, fill_value=0.5)
    )((9, 3))
    data, validation = (x, None) if role == "data" else (good, (x,))
    before = weights(pair)
    with pytest.raises(error, match=words):
        pv.fit(pair, data, validation=validation, **RUN)
    assert equal(pair, before)


def test_grey_values_for_bernoulli():
    words = (
        r"37 % of its values are strictly between 0 and 1\. "
        r"Binarise it \(transform=torch\.bernoulli\)"
    )
    with pytest.raises(ValueError, match=words):
        pv.fit(make(pv.Bernoulli, event=5), GREY, **RUN)
    assert (
        len(pv.fit(make(pv.Bernoulli, event=5), GREY, transform=torch.bernoulli, **RUN).loss) == 4
    )


def test_classes_beyond_those_asked_for():
    with pytest.raises(ValueError, match=r"integer from 0 to 3.* ask for classes=6"):
        pv.fit(make(pv.Categorical, classes=4), torch.arange(60).reshape(20, 3) % 6, **RUN)


@pytest.mark.parametrize(
    ("pair", "data", "error", "words"),
    [
        (make(), (), ValueError, "expected data, got none"),
        (
            Conditional(),
            (X, X[:7, :2]),
            ValueError,
            r"data\[1\]: expected as many rows as x, 50, got 7",
        ),
        (
            make(),
            (DataLoader(TensorDataset(X[:0])),),
            ValueError,
            "data is empty: the loader gave no batch",
        ),
        (make(), (DataLoader(with_value(float("nan"), (0, 0))),), ValueError, "NaN or infinite"),
        (
            make(),
            (DataLoader(X), X),
            ValueError,
            "batches of a DataLoader hold all that the model takes",
        ),
        (
            nn.Linear(3, 3),
            (X,),
            TypeError,
            "pair: expected a module with methods model and guide, got Linear",
        ),
    ],
)
def test_bad_calls(pair, data, error, words):
    with pytest.raises(error, match=words):
        pv.fit(pair, *data, **RUN)


@pytest.mark.parametrize(
    ("transform", "error", "words"),
    [
        (lambda x: None, TypeError, "transform: expected a function that returns a tensor, got N"),
        (
            lambda x: x[:5],
            ValueError,
            r"transform: .* as many rows .* 50, got shape .5, 3",
        ),
        (lambda x: x[:, :2], ValueError, r"x: expected .* This x is what transform= returned"),
        (lambda x: x / 0, ValueError, r"x holds .* This x is what transform= returned"),
    ],
)
def test_what_a_transform_returns(transform, error, words):
    with pytest.raises(error, match=words):
        pv.fit(make(), X, transform=transform, **RUN)


def test_all_batches_of_a_loader_are_checked_in_the_first_epoch():
    x = X.clone()
    x[45] = 0.5
    pair = make(pv.Bernoulli)
    with pytest.raises(ValueError, match=r"batch 5 of the loader: .* 10 % of its values are stric"):
        pv.fit(pair, DataLoader((x > 0).float().where(x != 0.5, 0.5), batch_size=10), **RUN)


@pytest.mark.parametrize("kind", ["data", "validation", "loader", "one row of a loader"])
def test_a_transform_in_place_leaves_the_data_alone(kind):
    x = torch.rand(20, 3)
    before = x.clone()
    data = {
        "loader": DataLoader(x, batch_size=5),
        "one row of a loader": DataLoader([x[i : i + 5] for i in range(0, 20, 5)], batch_size=None),
    }.get(kind, x)
    options = {"transform": lambda values: values.mul_(2).clamp_(max=1), "epochs": 2, "seed": 0}
    if kind == "validation":
        options["validation"] = x
    pv.fit(make(), data, **options)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_a_map_of_a_file_is_not_copied_and_trains_as_its_array_does(dtype, tmp_path):
    x = (100 * X.numpy()).clip(0, 255).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    given = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches = InMemory(make(), (given,), torch.device("cpu"), lambda values: values.float(), 12)
    assert batches.whole[0].data_ptr() == given.ctypes.data

    pairs = [make(), make()]
    for pair, data in zip(pairs, (given, torch.tensor(x)), strict=True):
        pv.fit(pair, data, transform=lambda values: values.float() / 255, **RUN)
    assert equal(pairs[0], weights(pairs[1]))


def test_bytes_are_computed_with_as_whole_numbers():
    x = torch.full((20, 3), 200, dtype=torch.uint8)
    levels = partial(pv.DiscretisedLogistic, levels=256)
    losses = [pv.fit(make(levels), data, **RUN).loss for data in (x, x.long())]
    assert losses[0] == losses[1]


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(X)


def test_a_loader_that_does_not_know_its_length():
    h = pv.fit(make(pv.Normal), DataLoader(Stream(), batch_size=8), epochs=3, seed=0)
    assert len(h.loss) == 3 and np.isfinite(h).all()


def test_errors_of_validation_data_say_so():
    with pytest.raises(ValueError, match="validation: x holds"):
        pv.fit(make(pv.Normal), X, epochs=1, validation=X * float("nan"))


class Outside(nn.Module):
    """A latent that all data share, so that no datum has a weight of its own."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 3)

    def model(self, x):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        loc = self.encoder(x).mean(0)
        pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


@pytest.mark.parametrize("source", ["memory", "loader"])
def test_a_pair_without_weights_per_datum_is_refused_before_training(source):
    pair = Outside()
    before = weights(pair)
    data = X if source == "memory" else DataLoader(X, batch_size=10)
    with pytest.raises(ValueError, match=r"no weight per datum: site 'z' .* outside the plate"):
        pv.fit(pair, data, **RUN)
    assert equal(pair, before)


def test_an_epoch_has_every_row_once_in_a_new_order():
    batches = InMemory(make(), (X,), torch.device("cpu"), None, 12)
    epochs = [[batch for (batch,) in batches] for _ in range(2)]

    assert len(batches) == 5
    assert [len(batch) for batch in epochs[0]] == [12, 12, 12, 12, 2]
    first, second = (torch.cat(epoch) for epoch in epochs)
    assert not torch.equal(first, second)
    for rows in (first, second):
        assert torch.equal(rows.sort(0).values, X.sort(0).values)


def test_a_small_last_batch_may_be_left_out():
    cpu = torch.device("cpu")
    for size, lengths in ((12, [12] * 4), (25, [25] * 2), (50, [50])):
        batches = InMemory(make(), (X,), cpu, None, size, drop_last=True)
        assert [len(batch) for (batch,) in batches] == lengths and len(batches) == len(lengths)
    with pytest.raises(ValueError, match="a batch has 60 rows and the data have 50, so that none"):
        pv.fit(make(), X, batch_size=60, drop_last=True, epochs=1)
    with pytest.raises(ValueError, match=r"DataLoader\(\.\.\., drop_last=True\)"):
        pv.fit(make(), DataLoader(X, batch_size=7), drop_last=True, epochs=1)


def make_normalised():
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

    decoder = nn.Linear(2, 3)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(x.shape[0], 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    pair = pv.Pair(model, guide)
    pair.encoder, pair.decoder = encoder, decoder
    return pair


@pytest.mark.parametrize("source", ["memory", "loader"])
def test_batch_normalisation_of_one_row_is_refused_before_training(source):
    is_loader = source == "loader"
    data = (DataLoader(X, batch_size=7),) if is_loader else (X,)
    options = {"epochs": 2, "seed": 0} | ({} if is_loader else {"batch_size": 7})
    cure = "DataLoader" if is_loader else "fit"
    words = rf"has one row, and .* parts\.encoder\.1 .*out, {cure}\(\.\.\., drop_last=True\)"
    with pytest.raises(ValueError, match=words):
        pv.fit(make_normalised(), *data, **options)

    dropped = DataLoader(X, batch_size=7, drop_last=True) if is_loader else X
    options |= {} if is_loader else {"drop_last": True}
    assert len(pv.fit(make_normalised(), dropped, **options).loss) == 2


def test_batches_are_cut_to_what_the_model_takes():
    assert count_arguments(Conditional()) == 2
    assert count_arguments(handwritten()) == 1
    assert count_arguments(make()) == len(["x"])
    with_covariate = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=[2, 4]),
        variational=pv.Normal(2, given=[3, 4]),
    )
    assert count_arguments(with_covariate) == len(["x", "c"])
