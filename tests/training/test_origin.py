"""No other run goes on from a checkpoint, and what does no harm is not held against one."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

import pyro_vae as pv
from pyro_vae.training.origin import READ, Origin, describe, sum_up_rows
from tests.runs import RUN, X, equal, make, noisy, ruin, with_value

small = partial(pv.networks.mlp, hidden=(8,))
exponential = partial(lr_scheduler.ExponentialLR, gamma=0.7)

# how a run differs from the one that wrote the checkpoint, and what is said of it
FOREIGN = {
    "activation": ({"pair": {"net": partial(small, activation=nn.Tanh)}}, r"net.body.2: expected"),
    "width": ({"pair": {"net": partial(small, hidden=(9,))}}, "out_features: expected 8, got 9"),
    "likelihood": ({"pair": {"likelihood": pv.Laplace}}, "likelihood: expected Normal"),
    "fixed scale": ({"pair": {"scale": 0.5}}, r"layout.computed: expected \['loc', 'scale'\]"),
    "objective": ({"beta": 0.5}, r"objective\S*: expected"),
    "bound": ({"elbo": pv.ImportanceWeighted(5)}, "elbo: expected TensorTraceELBO"),
    "data": ({"data": X + 1}, "data: expected .*float32"),
    "a value": ({"data": with_value(0.0)}, "data: expected .*float32"),
    "rows": ({"data": X[:49]}, r"data: expected .*\(50, 3\).*, got .*\(49, 3\)"),
    "loader": ({"data": DataLoader(X, 12)}, "data: expected .*DataLoader"),
    "batch size": ({"batch_size": 13}, "batch_size: expected 12, got 13"),
    "learning rate": ({"learning_rate": 1e-3}, "learning_rate: expected 0.01, got 0.001"),
    "optimizer": ({"optimizer": partial(torch.optim.SGD, lr=1e-2)}, "expected Adam, got SGD"),
    "its options": (
        {"optimizer": partial(torch.optim.Adam, lr=1e-2, betas=(0.5, 0.999))},
        r"optimizer.betas: expected \[0.9, 0.999\], got \[0.5, 0.999\]",
    ),
    "schedule": ({"schedule": ruin}, "schedule: expected None, got LambdaLR"),
    "validation": ({"validation": X[5:25]}, "validation on cpu: expected"),
    "no validation": ({"validation": None}, "validation: expected given, got none"),
    "patience": ({"patience": 3}, "patience: expected None, got 3"),
    "transform": ({"transform": noisy}, "transform: expected None, got noisy"),
    "precision": ({"precision": "bf16"}, "precision: expected None, got 'bf16'"),
    "seed": ({"seed": 4}, "seed: expected 3, got 4"),
    "float64": ({"cast": torch.float64}, "weight: expected torch.float32, got torch.float64"),
}


def train(path, *, pair=None, data=X, beta=None, elbo=None, cast=None, **options):
    vae = make(**(pair or {}))
    vae = vae if cast is None else vae.to(cast)
    objective = pv.Objective(vae, elbo)
    objective = objective if beta is None else pv.KLWeight(objective, beta)
    options = RUN | {"validation": X[:20], "epochs": 1} | options
    pv.fit(vae, data, objective=objective, checkpoint=path, resume=True, **options)
    return vae


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_argument_is_refused_with_what_was_expected(case, tmp_path):
    options, said = FOREIGN[case]
    train(tmp_path / "run")
    with pytest.raises(ValueError, match=f"the run in .*run was made otherwise.*{said}"):
        train(tmp_path / "run", **(options | {"epochs": 2}))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schedule": partial(exponential, gamma=0.5)}, "schedule.gamma: expected 0.7, got 0.5"),
        ({"beta": 0.7}, r"beta=0.5.*beta=0.7"),
        ({"transform": lambda x: x + 0.2}, "otherwise. transform: expected .*<lambda>"),
        ({"data": DataLoader(TensorDataset(X), 12)}, "RandomSampler.*SequentialSampler"),
        ({"data": DataLoader(TensorDataset(X + 1), 12, shuffle=True)}, "first batch on cpu"),
    ],
)
def test_settings_of_parts_are_compared(changed, said, tmp_path):
    options = {
        "schedule": exponential,
        "beta": 0.5,
        "transform": lambda x: x + 0.1,
        "data": DataLoader(TensorDataset(X), 12, shuffle=True),
    }
    train(tmp_path / "run", **options)
    with pytest.raises(ValueError, match=said):
        train(tmp_path / "run", **(options | changed))


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 3},
        {"progress": False, "checkpoint_every": 7},
        {"callback": print},
        {"device": "cpu"},
        {"seed": None},
        {"compile": True},
        {"optimizer": partial(torch.optim.Adam, lr=1e-2, foreach=True)},
    ],
    ids=str,
)
def test_what_does_no_harm_may_differ(options, tmp_path):
    train(tmp_path / "run")
    train(tmp_path / "run", **options)


class Counting(pv.VAE):
    """A pair that keeps a count, which a run changes."""

    calls = 0

    def model(self, x):
        self.calls += 1
        return super().model(x)


def test_what_a_module_counts_is_kept_and_not_held_against_it(tmp_path):
    whole, parted, resumed = (make(cls=Counting, seed=seed) for seed in (0, 0, 1))
    pv.fit(whole, X, **RUN)
    for pair, epochs in ((parted, 2), (parted, 3), (resumed, 4)):
        options = RUN | {"epochs": epochs}
        pv.fit(pair, X, checkpoint=tmp_path / "run", resume=True, **options)
    assert equal(whole, resumed) and resumed.calls > parted.calls


def test_several_differences_are_counted(tmp_path):
    train(tmp_path / "run")
    with pytest.raises(ValueError, match=r"expected.*; and \d+ more\. Resume with the arguments"):
        train(tmp_path / "run", pair={"likelihood": pv.Laplace}, data=X[:9], batch_size=5, seed=7)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_refused_run_changes_nothing(epochs, tmp_path):
    path = tmp_path / "run"
    train(path)
    before, pair = path.read_bytes(), make(seed=1)
    with pytest.raises(ValueError, match="made otherwise"):
        pv.fit(pair, X + 1, checkpoint=path, resume=True, **(RUN | {"epochs": epochs}))
    assert path.read_bytes() == before and equal(pair, make(seed=1))


def test_words_that_changed_within_the_run_are_left_out():
    words = {"a": "1", "b": "2"}
    origin = Origin(0, lambda: dict(words), [])
    words["b"] = "3"
    assert origin.pack()["words"] == {"a": "1"}
    Origin(0, lambda: {"a": "1", "b": "9", "c": "5"}, []).unpack(origin.pack(), "run")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.float64)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        ({"a": 1}, {"a": 2}),
        ([torch.relu], [torch.tanh]),
        ({3, 1}, {3, 2}),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())),
        (pv.KLWeight, pv.Objective),
        (RandomSampler(X), RandomSampler(X, replacement=True)),
        (1.0, 1.001),
        ("a" * 500 + "b", "a" * 500 + "c"),
        (np.array(["a", "b"]), np.array(["a", "c"])),
        (np.arange(3), np.arange(3.0)),
        (range(5000), list(range(4000))),
    ],
)
def test_descriptions_differ_where_things_do(a, b):
    assert describe(a) == describe(a) != describe(b)


class Shy:
    """An object that does not want to be looked at."""

    @property
    def __dict__(self):
        raise RuntimeError("no")


def test_what_cannot_be_described_keeps_no_run_from_starting(tmp_path):
    pair = make()
    pair.own = [Shy(), np.array([object()]), torch.eye(2).to_sparse()]
    pv.fit(pair, X, checkpoint=tmp_path / "run", **RUN)
    pv.fit(pair, X, checkpoint=tmp_path / "run", resume=True, **(RUN | {"epochs": 5}))


def test_a_part_of_what_is_large_is_read():
    large = torch.zeros(2 * READ // 1024, 1024, dtype=torch.uint8)
    before = sum_up_rows(large)
    large[1] = 1
    assert sum_up_rows(large) == before
    large[2] = 1
    assert sum_up_rows(large) != before
