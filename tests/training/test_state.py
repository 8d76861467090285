"""Everything that a state keeps comes back."""

import dataclasses
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler

import pyro_vae as pv
from pyro_vae.training.checkpoints import list_tensors, read_tree, write_tree
from pyro_vae.training.kept import Kept, split
from pyro_vae.training.state import Best, Position, State
from tests.runs import X, make

CPU = torch.device("cpu")
OPTIMISERS = {
    "adam": torch.optim.Adam,
    "amsgrad": partial(torch.optim.AdamW, amsgrad=True),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "rmsprop": partial(torch.optim.RMSprop, centered=True),
}
SCHEDULES = {
    "exponential": partial(lr_scheduler.ExponentialLR, gamma=0.5),
    "milestones": partial(lr_scheduler.MultiStepLR, milestones=[1, 3]),
    "plateau": lr_scheduler.ReduceLROnPlateau,
    "none": lambda optimizer: None,
}
VALUES = {int: 7, float: 7.5, bool: False, dict: {"a": torch.ones(2)}}


def make_state(seed, optimizer, schedule, cls=State):
    pair = make(seed=seed)
    objective = pv.KLWeight(pv.Objective(pair), pv.linear(10))
    opt = optimizer(objective.parameters())
    plan = schedule(opt)
    generator = torch.Generator().manual_seed(seed)
    return cls(pair, objective, opt, plan, CPU, generator)


def go_on(state, steps):
    """Change all that a run changes."""
    objective, optimizer = state.weights.objective, state.optimizer.optimizer
    for _ in range(steps):
        loss = objective(X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state.position.add(loss.detach(), len(X))
    state.record.add(loss=1.0, elbo=-1.0, reconstruction=-0.5, kl=0.5, seconds=0.1, bound=1)
    state.best.replace(0, -1.0, state.weights.copy())
    state.schedule.advance(-1.0)
    torch.randperm(5, generator=state.epoch_start.generator)
    state.epoch_start.mark()


def fill(part):
    """Give each field of a dataclass a value that is not its default."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if value is not None:
            setattr(part, field.name, VALUES[type(value)])


def put_through_a_file(tree, path):
    write_tree(path, tree)
    return read_tree(path)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMISERS)
def test_every_part_comes_back(optimizer, schedule, tmp_path):
    kinds = OPTIMISERS[optimizer], SCHEDULES[schedule]
    state, other = make_state(0, *kinds), make_state(1, *kinds)
    go_on(state, 3)
    go_on(other, 1)
    expected, expected_tensors = split(state.pack())
    saved = put_through_a_file(state.pack(), tmp_path / "run")

    other.unpack(saved, "run")
    torch.randn(1)
    torch.set_rng_state(saved["random"]["cpu"])
    notes, tensors = split(other.pack())
    assert notes == expected
    assert tensors.keys() == expected_tensors.keys()
    torch.testing.assert_close(tensors, expected_tensors, rtol=0, atol=0)


def test_every_attribute_is_kept():
    state = make_state(0, OPTIMISERS["adam"], SCHEDULES["none"])
    assert all(isinstance(part, Kept) for part in vars(state).values())
    assert state.pack().keys() == vars(state).keys()


def test_an_attribute_that_is_not_kept_cannot_be_forgotten():
    class Forgetful(State):
        def __init__(self, *args):
            super().__init__(*args)
            self.count = 0

    state = make_state(0, OPTIMISERS["adam"], SCHEDULES["none"], cls=Forgetful)
    with pytest.raises(AttributeError, match="pack"):
        state.pack()


@pytest.mark.parametrize("cls", [Position, Best])
def test_every_field_comes_back(cls, tmp_path):
    part, other = cls(), cls()
    fill(part)
    saved = put_through_a_file({"part": part.pack()}, tmp_path / "part")

    other.unpack(saved["part"], "part")
    torch.testing.assert_close(vars(other), vars(part), rtol=0, atol=0)
    assert all(vars(other)[name] != value for name, value in vars(cls()).items() if value)


def test_losses_that_were_not_read_are_kept():
    position, other = Position(), Position()
    position.unread = torch.tensor(2.0)
    other.unpack(position.pack(), "a file")
    assert other.loss_sum == 2.0 and other.unread is None


def test_the_best_is_beaten_by_finite_numbers_alone():
    best = Best()
    assert best.is_beaten_by(-1e9)
    assert not best.is_beaten_by(float("nan")) and not best.is_beaten_by(float("inf"))
    assert best.count_since(5) == 0

    best.replace(1, -3.0, {"a": torch.ones(1)})
    assert best.is_beaten_by(-2.9) and not best.is_beaten_by(-3.0)
    assert best.count_since(5) == 3


def test_the_tensors_of_the_pair_are_told_from_the_objectives():
    state = make_state(0, OPTIMISERS["adam"], SCHEDULES["none"])
    names = state.weights.pack().keys()
    own = {"pair." + name for name in list_tensors(state.weights.pair)}

    assert own < names
    assert names - own == {"objective.steps", "objective.weight"}


def test_a_plateau_schedule_follows_the_elbo():
    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=0, threshold=1e6, factor=0.5
        )

    seen = []
    pv.fit(
        make(pv.Normal), X, epochs=4, seed=0, schedule=lambda o: seen.append(plateau(o)) or seen[0]
    )
    assert seen[0].get_last_lr()[0] < 1e-3
