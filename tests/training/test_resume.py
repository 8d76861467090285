"""A run that is interrupted at any step ends where one that is left alone ends, bit for bit."""

import random
import signal
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import pyro_vae as pv
from pyro_vae.training.loop import Loop
from tests.runs import Counting, X, equal, make, noisy

RUN = {"epochs": 3, "batch_size": 12, "learning_rate": 1e-2, "seed": 3, "validation": X[:20]}


def seeded(seed=4):
    return torch.Generator().manual_seed(seed)


def by_numpy(x):
    return x + torch.from_numpy(np.random.normal(size=x.shape)).to(x)


def by_python(x):
    return x + random.gauss(0, 1)


class OwnNoise:
    """A transform with generators of its own."""

    def __init__(self):
        self.first = np.random.default_rng(5)
        self.second = random.Random(6)

    def __call__(self, x):
        return x + self.first.normal() + self.second.random()


def by_closure():
    generator = seeded()
    return lambda x: x + torch.randn(x.shape, generator=generator)


class Augmented(Dataset):
    """Rows with noise that is drawn as they are read."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i] + torch.from_numpy(np.random.rand(3)).float() + random.random()


class OwnOrder:
    """A sampler of a user, with a generator of NumPy."""

    def __init__(self):
        self.rng = np.random.default_rng(7)

    def __len__(self):
        return len(X)

    def __iter__(self):
        return iter(self.rng.permutation(len(X)).tolist())


def load(**options):
    return DataLoader(TensorDataset(X), **({"batch_size": 12} | options))


class Changes:
    """A callback that changes a run after its first epoch."""

    def __init__(self, change):
        self.change = change
        self.run = {}

    def __call__(self, history):
        return self.change(self.run) if len(history.loss) == 1 else None


def slow_down(run):
    for group in run["optimizer"].param_groups:
        group["lr"] *= 0.1


def shrink_rate(run):
    run["optimizer"].param_groups[0]["lr"].mul_(0.1)


def freeze(run):
    run["pair"].likelihood.requires_grad_(False)


def weigh(run):
    run["objective"].offset = 2.0


def halve(run):
    with torch.no_grad():
        for p in run["pair"].parameters():
            p.mul_(0.5)


class Weighted(pv.Objective):
    """A loss with a number that is no buffer."""

    offset = 1.0

    def __init__(self, pair):
        super().__init__(pair)
        self.offset = 1.0

    def forward(self, *data):
        return super().forward(*data) * self.offset


class Jittered(pv.Objective):
    """A loss that is scaled by draws from a generator deep inside."""

    def __init__(self, pair):
        super().__init__(pair)
        self.inner = nn.Sequential(nn.Sequential(nn.Sequential(nn.Identity())))
        self.inner[0][0][0].generator = seeded()

    def forward(self, *data):
        return super().forward(*data) * torch.rand((), generator=self.inner[0][0][0].generator)


def changed(change, **options):
    return lambda: {"callback": Changes(change), **options}


def warm(pair):
    # above 1 a bound, if the latents are known to be in order
    return pv.KLWeight(pv.Objective(pair), {"z": lambda step: 1.0 + min(1.0, step / 7)})


# what the arguments of a run are, made anew for each
SETTINGS = {
    "NumPy's draws": lambda: {"transform": by_numpy},
    "Python's draws": lambda: {"transform": by_python},
    "a transform's own generators": lambda: {"transform": OwnNoise()},
    "a generator in a closure": lambda: {"transform": by_closure()},
    "early stopping": lambda: {"transform": by_closure(), "patience": 1, "epochs": 6},
    "a module's generator": lambda: {"objective": Jittered},
    "a loader's generator": lambda: {"data": load(shuffle=True, generator=seeded())},
    "a sampler's generator": lambda: {"data": load(sampler=RandomSampler(X, generator=seeded()))},
    "draws with weights": lambda: {
        "data": load(sampler=WeightedRandomSampler(range(1, 51), 50, generator=seeded()))
    },
    "a sampler of batches": lambda: {
        "data": DataLoader(
            TensorDataset(X),
            batch_sampler=BatchSampler(RandomSampler(X, generator=seeded()), 12, False),
        )
    },
    "a sampler of a user": lambda: {"data": load(sampler=OwnOrder())},
    "a data set that draws": lambda: {"data": DataLoader(Augmented(), 12, shuffle=True)},
    "float64 and whole numbers": lambda: {"optimizer": Counting},
    "a rate in a tensor": lambda: {
        "optimizer": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1)),
        "schedule": partial(lr_scheduler.ExponentialLR, gamma=0.7),
    },
    "a plateau": lambda: {
        "schedule": partial(lr_scheduler.ReduceLROnPlateau, patience=0, threshold=9.0)
    },
    "a weight for each latent": lambda: {"objective": warm},
    "another rate": changed(slow_down, optimizer=partial(torch.optim.Adam, lr=0.1)),
    "another rate in a tensor": changed(
        shrink_rate, optimizer=lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1))
    ),
    "a part that is frozen": changed(freeze),
    "another attribute": changed(weigh, objective=Weighted),
    "other weights": changed(halve),
    "a stop": changed(lambda run: True),
}


def build(setting):
    """A pair and what `fit` is called with."""
    options = RUN | {"transform": noisy} | SETTINGS[setting]()
    pair = make()
    if "objective" in options:
        options["objective"] = options["objective"](pair)
    if "callback" in options:
        _introduce(options, pair)
    return pair, options.pop("data", X), options


def _introduce(options, pair):
    """Let a callback know the parts of its run."""
    run, maker = options["callback"].run, options.get("optimizer", torch.optim.Adam)
    run |= {"pair": pair, "objective": options.get("objective")}

    def remember(parameters):
        run["optimizer"] = maker(parameters)
        return run["optimizer"]

    options["optimizer"] = remember


def seed_all(seed):
    for sow in (torch.manual_seed, np.random.seed, random.seed):
        sow(seed)


@pytest.mark.parametrize("session", ["the same", "another"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_interrupted_and_resumed_is_bit_equal_to_left_alone(
    setting, session, tmp_path, monkeypatch
):
    seed_all(1)
    whole, data, options = build(setting)
    expected = pv.fit(whole, data, **options)
    steps = 5 * len(expected.loss)
    somewhere = random.Random(setting + session).randrange(1, steps)

    for place in {somewhere} if session == "the same" else {somewhere, 5, steps}:
        path = tmp_path / f"run-{place}"
        seed_all(1)
        parted, data, options = build(setting)
        with monkeypatch.context() as patched:
            send_after(place, patched)
            with pytest.raises(KeyboardInterrupt):
                pv.fit(parted, data, checkpoint=path, checkpoint_every=1e9, **options)

        seed_all(2)
        if session == "another":
            parted, data, options = build(setting)
        history = pv.fit(parted, data, checkpoint=path, resume=True, **options)
        assert equal(whole, parted), place
        assert history._replace(seconds=[]) == expected._replace(seconds=[]), place


def send_after(steps, patched):
    """Send a signal after so many steps."""
    step, left = Loop.step, [steps]

    def step_and_count(*arguments):
        step(*arguments)
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)

    patched.setattr(Loop, "step", step_and_count)
