"""The loop: patience, and what it tells its observers."""

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.training.batches import InMemory
from pyro_vae.training.checkpoints import load_weights
from pyro_vae.training.faults import Watch
from pyro_vae.training.held_out import HeldOut
from pyro_vae.training.loop import Loop, Observer, run
from pyro_vae.training.origin import Origin
from pyro_vae.training.state import State
from pyro_vae.training.steps import Step
from tests.runs import RUN, X, equal, make, ruin, weights

CPU = torch.device("cpu")


def test_early_stopping_restores_the_best_weights(tmp_path):
    pair, path, after = make(), tmp_path / "run.safetensors", []
    options = RUN | {"epochs": 30, "patience": 2, "schedule": ruin, "checkpoint": path}
    h = pv.fit(
        pair, X, validation=X, callback=lambda history: after.append(weights(pair)), **options
    )
    best = int(np.argmax(h.elbo))

    assert best == 2 and len(h.elbo) == best + 1 + 2
    assert equal(pair, after[best]) and not equal(pair, after[-1])

    read = make(seed=1)
    load_weights(read, path)
    assert equal(read, pair)


def test_the_history_says_when_the_loss_is_no_bound():
    pair = make()
    steps = 4 * 5  # four epochs of five batches
    annealed = pv.fit(
        pair, X, objective=pv.KLWeight(pv.Objective(pair), pv.linear(steps // 2)), **RUN
    )
    assert annealed.bound == [0, 0, 1, 1]
    shaped = pv.fit(pair, X, objective=pv.Objective(pair, pv.Capacity(10.0, 1.0)), **RUN)
    assert shaped.bound == [0] * 4 and "(no bound)" in repr(shaped)
    assert pv.fit(pair, X, **RUN).bound == [1] * 4


class Diary(Observer):
    """Writes down what it is told."""

    def __init__(self, lines, name, stops=False):
        self.lines, self.name, self.stops = lines, name, stops

    def __enter__(self):
        self.lines.append(f"{self.name} enters")
        return self

    def __exit__(self, *error):
        self.lines.append(f"{self.name} leaves")

    def after_step(self, state):
        self.lines.append(f"{self.name} step {state.position.batches}")

    def after_epoch(self, state):
        self.lines.append(f"{self.name} epoch {state.record.epochs}")
        state.record.is_stopped |= self.stops

    def at_end(self, state):
        self.lines.append(f"{self.name} end")


def make_loop(epochs, patience=None):
    pair = make()
    objective = pv.Objective(pair)
    optimizer = torch.optim.SGD(pair.parameters(), lr=1e-2)
    batches = InMemory(pair, (X,), CPU, None, 25)
    state = State(pair, objective, optimizer, None, CPU, Origin(0, dict, []))
    watch = Watch(pair, objective, state, None)
    step = Step(objective, optimizer, None, watch.check_loss)
    held_out = HeldOut(pair, (X,), 0)
    return Loop(objective, batches, step, held_out, watch, epochs, patience), state


def test_observers_are_told_in_their_order():
    loop, state = make_loop(epochs=1)
    lines = []
    run(loop, state, [Diary(lines, "a"), Diary(lines, "b")])

    assert lines == [
        *("a enters", "b enters"),
        *("a step 1", "b step 1", "a step 2", "b step 2", "a epoch 1", "b epoch 1"),
        *("a end", "b end", "b leaves", "a leaves"),
    ]


def test_all_are_told_of_the_epoch_after_which_one_stops_the_run():
    loop, state = make_loop(epochs=3)
    lines = []
    run(loop, state, [Diary(lines, "a"), Diary(lines, "b", stops=True), Diary(lines, "c")])

    assert [line for line in lines if "epoch" in line] == ["a epoch 1", "b epoch 1", "c epoch 1"]
    assert state.record.epochs == 1
    assert lines[-6:-3] == ["a end", "b end", "c end"]


def test_observers_leave_when_a_run_fails():
    loop, state = make_loop(epochs=3)
    lines = []

    class Fails(Observer):
        def after_step(self, state):
            raise RuntimeError("from an observer")

    with pytest.raises(RuntimeError, match="from an observer"):
        run(loop, state, [Diary(lines, "a"), Fails()])
    assert lines == ["a enters", "a step 1", "a leaves"]


def test_an_observer_that_fails_keeps_none_from_being_told():
    loop, state = make_loop(epochs=3)
    lines = []

    class Fails(Observer):
        def after_epoch(self, state):
            raise RuntimeError("from an observer")

    with pytest.raises(RuntimeError, match="from an observer"):
        run(loop, state, [Fails(), Diary(lines, "a")])
    assert lines[-2:] == ["a epoch 1", "a leaves"]


def test_at_the_end_the_last_weights_are_still_in_place():
    loop, state = make_loop(epochs=2, patience=5)
    seen = []

    class Looks(Observer):
        def after_epoch(self, state):
            state.best.elbo = torch.inf  # so that the first epoch stays the best

        def at_end(self, state):
            seen.append(weights(state.weights.pair))

    run(loop, state, [Looks()])
    best = {name: state.best.weights["pair." + name] for name in seen[0]}
    assert state.best.epoch == 0
    assert equal(state.weights.pair, best) and not equal(seen[0], best)


def test_the_phases_alone():
    """Start, step, measure, done, as a person would call them."""
    loop, state = make_loop(epochs=1)
    assert not loop.done(state)

    first, second = loop.start(state)
    loop.step(state, first)
    assert state.describe_place() == "epoch 1, step 2"
    assert state.position.rows == 25 and state.bound.is_held()

    loop.step(state, second)
    loop.measure(state)
    assert loop.done(state)
    assert state.describe_place() == "epoch 2, step 1"
