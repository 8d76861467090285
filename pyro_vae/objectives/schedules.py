"""Schedules: functions of the number of training steps done so far, and what follows one."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_whole, check_within


class Scheduled(nn.Module):
    """A module with a number that follows a schedule, one step of it for each training step.

    The number is a buffer, so that compiled code reads it anew at each step. Whoever runs such
    code calls `advance` before it.

    Attributes:
        steps: Training steps done so far, a buffer.
    """

    steps: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))

    def advance(self) -> None:
        """Set the number for the next step. In training mode, count that step."""
        raise NotImplementedError


def linear(steps: int, to: float = 1.0) -> Callable[[int], float]:
    """A schedule that rises from 0, linearly, and reaches its last value after so many steps.

    Arguments:
        steps: Training steps of the rise.
        to: The last value.

    Raises:
        TypeError: if an argument is no number.
        ValueError: if `steps` is below 1.

    Example:
        >>> [linear(4)(step) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    steps = check_whole("steps", steps)
    to = check_within("to", to)

    return lambda step: to * min(1.0, step / steps)


def cyclical(
    steps: int, cycles: int = 4, rise: float = 0.5, to: float = 1.0
) -> Callable[[int], float]:
    """A schedule that rises from 0 to its last value several times.

    Each cycle rises linearly in its first part, and stays for the rest of it. After all steps the
    schedule stays at its last value. (Fu et al., 2019)

    Arguments:
        steps: Training steps of all cycles together.
        cycles: How many cycles.
        rise: The part of a cycle, in (0, 1], in which it rises.
        to: The last value.

    Raises:
        ValueError: if there are fewer steps than cycles, or `rise` is not in (0, 1].

    Example:
        >>> schedule = cyclical(8, cycles=2)
        >>> [schedule(step) for step in range(9)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """
    cycles = check_whole("cycles", cycles)
    if check_whole("steps", steps) < cycles:
        raise ValueError(f"steps: expected at least as many as cycles={cycles}, got {steps}")
    to, rise = check_within("to", to), check_within("rise", rise)
    if not 0 < rise <= 1:
        raise ValueError(f"rise: expected a part of a cycle, in (0, 1], got {rise}")

    def schedule(step: int) -> float:
        if step >= steps:
            return to
        place = (step * cycles / steps) % 1.0
        return to * min(1.0, place / rise)

    return schedule
