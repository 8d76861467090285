"""Random states come back, and are left alone."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

from pyro_vae.training.checkpoints import read_tree, write_tree
from pyro_vae.training.randomness import (
    EpochStart,
    RandomStates,
    find_generators,
    find_held,
    fork,
    seed_all,
)
from tests.runs import X

CPU = torch.device("cpu")

# how to draw from each kind of generator
KINDS = {
    "Python's": (random.Random, lambda g: [g.gauss(0, 1), g.random()]),
    "NumPy's of old": (np.random.RandomState, lambda g: [*g.normal(size=3)]),
    "torch's": (
        lambda seed: torch.Generator().manual_seed(seed),
        lambda g: torch.randn(3, generator=g).tolist(),
    ),
    **{
        kind.__name__: (
            lambda seed, kind=kind: np.random.Generator(kind(seed)),
            lambda g: [*g.normal(size=3), *g.integers(9, size=3, dtype=np.int32)],
        )
        for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)
    },
}


def draw_all():
    return [random.random(), np.random.rand(), torch.rand(()).item()]


def test_draws_in_a_fork_are_free():
    seed_all(3)
    expected = draw_all()
    seed_all(3)
    with fork(CPU):
        seed_all(-8)
        draw_all()
    assert draw_all() == expected


def test_random_states_come_back(tmp_path):
    states = RandomStates(CPU)
    write_tree(tmp_path / "run", states.pack())
    expected = draw_all()
    states.unpack(read_tree(tmp_path / "run"), "a file")
    assert draw_all() == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_a_generator_comes_back(kind, tmp_path):
    make, draw = KINDS[kind]
    generator, other = make(1), make(2)
    draw(generator)
    write_tree(tmp_path / "run", RandomStates(CPU, [generator]).pack())
    expected = draw(generator)
    RandomStates(CPU, [other]).unpack(read_tree(tmp_path / "run"), "a file")
    assert draw(other) == expected


def test_the_draws_of_an_epoch_are_drawn_again():
    own = torch.Generator().manual_seed(1)
    start = EpochStart(RandomStates(CPU, [own]))
    expected = [*draw_all(), torch.rand((), generator=own)]
    seed_all(5)
    after = [*draw_all(), torch.rand((), generator=own)]
    seed_all(5)
    own.manual_seed(1)
    torch.rand((), generator=own)
    with start.recalled():
        assert [*draw_all(), torch.rand((), generator=own)] == expected
    assert [*draw_all(), torch.rand((), generator=own)] == after


NOISE = torch.Generator()


def from_global(x):
    return torch.bernoulli(x, generator=NOISE)


class Noise:
    def __init__(self, generator):
        self.steps = [{"generator": generator}]

    def __call__(self, x):
        return x

    def add(self, x):
        return x


def from_closure(generator):
    return lambda x: torch.bernoulli(x, generator=generator)


def from_default(generator):
    return lambda x, g=generator: torch.bernoulli(x, generator=g)


@pytest.mark.parametrize(
    "hide",
    [
        from_closure,
        from_default,
        lambda g: partial(torch.bernoulli, generator=g),
        lambda g: partial(from_closure(g), 3),
        Noise,
        lambda g: Noise(g).add,
        lambda g: DataLoader(X, 12, shuffle=True, generator=g),
        lambda g: DataLoader(X, 12, sampler=RandomSampler(X, generator=g)),
        lambda g: torch.nn.Sequential(torch.nn.ReLU(), hold(g)),
    ],
)
def test_generators_are_found(hide):
    generator = torch.Generator()
    assert find_generators(None, X, hide(generator)) == [generator]


def hold(generator):
    module = torch.nn.Identity()
    module.generator = generator
    return module


def test_a_function_that_holds_what_is_not_there_yet_holds_nothing():
    def function():
        return later

    assert find_generators(function) == [] and find_held(function) == {}
    later = 3
    assert function() == 3 and find_held(function) == {"later": 3}


def test_a_generator_that_is_global_is_found_and_none_where_there_is_none():
    assert find_generators(from_global) == [NOISE]
    assert find_generators(X, torch.bernoulli, DataLoader(X, 12)) == []
