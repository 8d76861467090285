"""The optimiser and the schedule that functions of the user make."""

from functools import partial

import pyro
import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau, SequentialLR, StepLR

import pyro_vae as pv
from pyro_vae.training.makers import make_optimizer, make_schedule
from tests.runs import RUN, X, equal, make


def parameters():
    return list(make().parameters())


def test_an_optimiser_of_pyro_is_one_of_torch():
    ours, theirs = make(), make()
    pv.fit(ours, X, **RUN, optimizer=partial(torch.optim.SGD, lr=1e-2))
    pv.fit(theirs, X, **RUN, optimizer=pyro.optim.SGD({"lr": 1e-2}))
    assert equal(ours, theirs) and not equal(ours, make())


@pytest.mark.parametrize(
    "maker",
    [
        pyro.optim.Adam(lambda name: {"lr": 1e-3}),
        pyro.optim.Adam({"lr": 1e-3}, {"clip_norm": 1.0}),
        pyro.optim.ExponentialLR({"optimizer": torch.optim.SGD, "optim_args": {}, "gamma": 0.1}),
    ],
    ids=["by name", "clipped", "scheduled"],
)
def test_more_than_an_optimiser_of_pyro_is_refused(maker):
    with pytest.raises(TypeError, match=r"optimizer: expected a function .* of pyro.optim"):
        make_optimizer(maker, parameters())


def test_some_of_the_parameters_will_do():
    def make_some(p):
        return torch.optim.Adam(p[:2])

    assert len(make_optimizer(make_some, parameters()).param_groups[0]["params"]) == 2


def test_other_parameters_train_nothing():
    other = torch.optim.Adam(parameters())
    with pytest.raises(ValueError, match=r"optimizer: 8 of the 8 parameters .* are not those of"):
        make_optimizer(lambda p: other, parameters())


@pytest.mark.parametrize(
    "maker",
    [
        ReduceLROnPlateau,
        partial(StepLR, step_size=1),
        lambda o: SequentialLR(o, [StepLR(o, 1), StepLR(o, 2)], milestones=[3]),
    ],
)
def test_schedules_of_torch(maker):
    optimizer = torch.optim.SGD(parameters(), lr=1.0)
    assert make_schedule(maker, optimizer).optimizer is optimizer


def test_nothing_is_no_schedule():
    with pytest.raises(TypeError, match=r"schedule: expected a function .*, and it made None"):
        pv.fit(make(), X, **RUN, schedule=lambda optimizer: None)


def test_an_error_of_the_function_is_said_of_the_argument():
    with pytest.raises(ValueError, match=r"optimizer: Invalid learning rate: -1.0"):
        make_optimizer(partial(torch.optim.Adam, lr=-1.0), parameters())
