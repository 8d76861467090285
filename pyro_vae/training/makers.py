"""What the functions that `fit` is given make of its parameters: the optimiser and the schedule."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from pyro.optim import PyroOptim
from pyro.optim.lr_scheduler import PyroLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyro_vae.arguments import check_function, say, say_again

MAKER = "a function that makes one of the parameters, such as partial(torch.optim.Adam, lr=1e-3)"
SCHEDULE = (
    "a function that makes a schedule of the optimiser, such as "
    "partial(torch.optim.lr_scheduler.StepLR, step_size=10)"
)


def make_optimizer(maker: Any, parameters: list[nn.Parameter]) -> Optimizer:
    """The optimiser that a function of the user makes.

    Arguments:
        maker: The function, or one of `pyro.optim` with the same options for all parameters.
        parameters: What it is to train.

    Raises:
        TypeError: if it is no such function, or makes no torch optimiser that steps by itself.
        ValueError: if the optimiser holds other parameters, or none of these.

    Example:
        >>> weight = nn.Parameter(torch.zeros(3))
        >>> type(make_optimizer(torch.optim.Adam, [weight])).__name__
        'Adam'
    """
    optimizer = _make("optimizer", _read_maker(maker), parameters)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected {MAKER}, and it made {say(optimizer)}")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise TypeError(
            f"optimizer: {type(optimizer).__name__} runs the loss several times in each step, "
            "which fit does not; take one like torch.optim.Adam"
        )

    own = {id(p) for p in parameters}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    foreign = sum(p.requires_grad and id(p) not in own for p in held)
    if foreign:
        raise ValueError(
            f"optimizer: {foreign} of the {len(held)} parameters that it holds are not those of "
            f"the objective; make it of the parameters that the function is given, {MAKER}"
        )
    return optimizer


def make_schedule(maker: Any, optimizer: Optimizer) -> LRScheduler:
    """The learning-rate schedule that a function of the user makes.

    Raises:
        TypeError: if it is no such function, or makes no schedule.
        ValueError: if the schedule is of another optimiser.

    Example:
        >>> adam = torch.optim.Adam([torch.zeros(3)], lr=1.0)
        >>> rates = lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5)
        >>> make_schedule(rates, adam).get_last_lr()
        [1.0]
    """
    check_function("schedule", maker, SCHEDULE)
    schedule = _make("schedule", maker, optimizer)
    if not isinstance(schedule, LRScheduler):
        raise TypeError(f"schedule: expected {SCHEDULE}, and it made {say(schedule)}")
    if schedule.optimizer is not optimizer:
        raise ValueError(
            "schedule: it is of another optimiser than the one that trains; make it of the "
            "optimiser that the function is given"
        )
    return schedule


def _read_maker(maker: Any) -> Callable:
    if not isinstance(maker, PyroOptim):
        check_function("optimizer", maker, MAKER)
        return maker
    has_more = isinstance(maker, PyroLRScheduler) or maker.pt_clip_args
    if has_more or not isinstance(maker.pt_optim_args, dict):
        raise TypeError(f"optimizer: expected {MAKER}, got {say(maker)} of pyro.optim with more")
    return partial(maker.pt_optim_constructor, **maker.pt_optim_args)


def _make(name: str, maker: Callable, made_of: Any) -> Any:
    """Call a function of the user. What does not fit is said of the argument."""
    try:
        return maker(made_of)
    except (TypeError, ValueError) as error:
        raise say_again(error, f"{name}: {error}") from error
