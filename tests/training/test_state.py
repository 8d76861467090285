"""Everything that a state keeps comes back."""

import dataclasses
from functools import partial

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim import lr_scheduler

import pyro_vae as pv
from pyro_vae.training.checkpoints import list_tensors, read_tree, write_tree
from pyro_vae.training.kept import Kept, split
from pyro_vae.training.origin import Origin
from pyro_vae.training.state import Best, OptimizerState, Position, State, is_bound
from tests.runs import Counting, X, make

CPU = torch.device("cpu")
OPTIMISERS = {
    "adam": torch.optim.Adam,
    "amsgrad": partial(torch.optim.AdamW, amsgrad=True),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "rmsprop": partial(torch.optim.RMSprop, centered=True),
    "a rate in a tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
    "whole numbers and float64": lambda p: Counting(p),
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
    return cls(pair, objective, opt, plan, CPU, Origin(0, dict, []), [generator])


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
    state.weights.pair.name = f"vae-{steps}"
    torch.randperm(5, generator=state.random.own[0])
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
    other.random.unpack(saved["random"], "run")
    notes, tensors = split(other.pack())
    assert notes == expected
    assert tensors.keys() == expected_tensors.keys()
    torch.testing.assert_close(tensors, expected_tensors, rtol=0, atol=0)


def test_a_rate_in_a_tensor_stays_the_one_to_which_a_user_refers():
    rate = torch.tensor(0.5)
    state = make_state(0, partial(torch.optim.SGD, lr=rate), SCHEDULES["none"])
    saved = state.pack()
    saved["optimizer"]["param_groups"][0]["lr"] = torch.tensor(0.25)
    state.unpack(saved, "run")
    assert state.optimizer.optimizer.param_groups[0]["lr"] is rate and rate == 0.25


def test_the_way_in_which_steps_are_computed_may_change():
    slow, fused = (partial(torch.optim.Adam, fused=how) for how in (False, True))
    state, other = (make_state(0, how, SCHEDULES["none"]) for how in (slow, fused))
    go_on(state, 1)
    other.unpack(state.pack(), "run")
    assert other.optimizer.optimizer.param_groups[0]["fused"]


def test_state_is_stored_as_its_parameter_is():
    """A file has another order than images with channels last, and a fused step heeds none."""
    p = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    optimizer = torch.optim.Adam([p], fused=True)
    p.square().sum().backward()
    optimizer.step()
    expected = optimizer.state[p]["exp_avg"].clone()

    state = OptimizerState(optimizer)
    saved = state.pack()
    slots = {name: value.contiguous() for name, value in saved["state"][0].items()}
    state.unpack({**saved, "state": {"0": slots}}, "run")
    found = optimizer.state[p]["exp_avg"]
    assert found.stride() == p.stride() and torch.equal(found, expected)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, partial(torch.optim.Adam, fused=True)])
def test_state_of_another_shape_is_refused_before_a_step_reads_beyond_it(optimizer):
    state = make_state(0, optimizer, SCHEDULES["none"])
    go_on(state, 1)
    for name, value in (("exp_avg", torch.ones(1)), ("exp_avg_sq", 0.0), ("step", torch.ones(9))):
        saved = state.pack()
        saved["optimizer"]["state"][0] = saved["optimizer"]["state"][0] | {name: value}
        with pytest.raises(ValueError, match=f"its optimizer cannot be read.*{name} is"):
            state.unpack(saved, "run")


def test_groups_of_another_optimiser_are_refused():
    state = make_state(0, OPTIMISERS["adam"], SCHEDULES["none"])
    saved = state.pack()
    del saved["optimizer"]["param_groups"][0]["betas"]
    with pytest.raises(ValueError, match="another optimizer: its groups of parameters have other"):
        state.unpack(saved, "run")


@pytest.mark.parametrize("name", list(vars(make_state(0, OPTIMISERS["adam"], lambda o: None))))
def test_a_state_that_lacks_a_part_or_is_damaged_is_refused(name):
    state = make_state(0, OPTIMISERS["adam"], SCHEDULES["exponential"])
    saved = state.pack()
    with pytest.raises(ValueError, match=f"run was written by another version.*no {name}"):
        state.unpack({key: saved[key] for key in saved if key != name}, "run")
    with pytest.raises(ValueError, match=r"checkpoint: run is|run is of another pair"):
        state.unpack(saved | {name: 3}, "run")


def test_what_a_callback_changed_of_a_module_comes_back():
    state, other = (make_state(0, OPTIMISERS["adam"], SCHEDULES["none"]) for _ in range(2))
    frozen = next(state.weights.pair.likelihood.parameters())
    frozen.requires_grad_(False)
    state.weights.pair.name = "another"
    saved = state.settings.pack()
    assert sorted(saved.values(), key=str) == ["another", False][::-1]

    other.settings.unpack(saved, "run")
    assert not next(other.weights.pair.likelihood.parameters()).requires_grad
    assert next(other.weights.pair.variational.parameters()).requires_grad
    assert other.weights.pair.name == "another" and other.settings.pack() == saved


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


def test_a_module_that_does_not_say_is_no_bound():
    pair = make()
    assert is_bound(pv.Objective(pair))
    assert not is_bound(pv.KLWeight(pv.Objective(pair), 0.5))
    assert not is_bound(torch.nn.Linear(1, 1))


def change(tree, path, value):
    """A copy of a tree with another value at a path."""
    key, *rest = path.split("/", 1)
    if isinstance(tree, list):
        return [change(b, rest[0], value) if i == int(key) else b for i, b in enumerate(tree)]
    return tree | {key: change(tree.get(key), rest[0], value) if rest else value}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("weights/pair.likelihood.net.body.1.weight", torch.zeros(1), "is of another pair"),
        ("weights", 3, "weights cannot be read: .*it is 3, expected a tree"),
        ("best/weights", {"pair.none": torch.zeros(1)}, "is of another pair"),
        ("best/elbo", "high", "best cannot be read: .*elbo is 'high', expected a number"),
        ("optimizer/state/0/exp_avg", torch.zeros(1), r"optimizer .*exp_avg is .* shape \(1,\)"),
        ("optimizer/state/0/exp_avg", 1.0, r"optimizer .*exp_avg is .* shape \(\), expected"),
        ("optimizer/state/0/max_exp_avg_sq", torch.zeros(1), "optimizer .*max_exp_avg_sq is"),
        ("optimizer/state/0/step", torch.zeros(0), r"optimizer .*step is a tensor of shape \(0,\)"),
        ("optimizer/state/0", {"step": 1.0}, "optimizer .*expected a tree with step, exp_avg"),
        ("optimizer/state/99", {}, "optimizer .*it has 8 parameters, and state of number 99"),
        ("optimizer/state/-1", {}, "optimizer .*it has 8 parameters, and state of number -1"),
        ("optimizer/param_groups/0/amsgrad", True, "optimizer .*expected a tree .*max_exp_avg_sq"),
        ("optimizer/param_groups/0/lr", "fast", "optimizer cannot be read: .*lr is 'fast'"),
        ("schedule/gamma", [0.5], "schedule cannot be read: .*gamma is"),
        ("record/loss", ["low"], "record cannot be read: .*'low', expected a number"),
        ("record/kl", [1.0, 2.0], "record cannot be read"),
        ("position", [0], "position cannot be read: .*expected 5 of them"),
        ("bound/first", "yes", "bound cannot be read: .*first is 'yes'"),
        ("random/cpu", torch.zeros(3, dtype=torch.uint8), "random cannot be read"),
        ("epoch_start/own", [], "is of other random generators"),
    ],
)
def test_a_crafted_state_is_refused_and_changes_nothing(path, value, words, tmp_path):
    kinds = OPTIMISERS["adam"], SCHEDULES["exponential"]
    state, other = make_state(0, *kinds), make_state(1, *kinds)
    go_on(state, 2)
    before = other.weights.copy()
    saved = put_through_a_file(state.pack(), tmp_path / "run")
    with pytest.raises(ValueError, match=f"run .*{words}"):
        other.unpack(change(saved, path, value), "run")
    torch.testing.assert_close(other.weights.copy(), before, rtol=0, atol=0)


def test_an_objective_of_several_processes_is_a_bound_as_it_is_alone(tmp_path):
    distributed = torch.distributed
    distributed.init_process_group("gloo", f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(pv.Objective(make()))
        assert is_bound(wrapped)
    finally:
        distributed.destroy_process_group()
