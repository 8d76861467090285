"""Schedules: functions of the number of training steps done so far."""

from collections.abc import Callable

from pyro_vae.arguments import check_whole


def linear(steps: int, to: float = 1.0) -> Callable[[int], float]:
    """A schedule for `KLWeight`: from 0, linearly, to its last value after so many training steps.

    Example:
        >>> [linear(4)(step) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    return lambda step: to * min(1.0, step / steps)


def cyclical(
    steps: int, cycles: int = 4, rise: float = 0.5, to: float = 1.0
) -> Callable[[int], float]:
    """A schedule for `KLWeight`: several times from 0, linearly, to its last value, where it rests.

    Each cycle rises for its first part and stays for what is left; after all steps it stays. (Fu et
    al., 2019)

    Arguments:
        steps: Training steps of all cycles together.
        cycles: How many.
        rise: The part of a cycle, in (0, 1], that is the rise.
        to: The last value.

    Raises:
        ValueError: if there are fewer steps than cycles, or `rise` is not in (0, 1].

    Example:
        >>> schedule = cyclical(8, cycles=2)
        >>> [schedule(step) for step in range(9)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """
    if not 1 <= check_whole("cycles", cycles) <= check_whole("steps", steps):
        raise ValueError(f"steps: expected at least as many as cycles={cycles}, got {steps}")
    if not 0 < rise <= 1:
        raise ValueError(f"rise: expected a part of a cycle, in (0, 1], got {rise}")
    return lambda step: to if step >= steps else to * min(1.0, (step * cycles / steps) % 1.0 / rise)
