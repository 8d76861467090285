"""Measurements that several processes share by rows of data. Each gets the whole result."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from pyro_vae.diagnostics.estimate import join_blocks
from pyro_vae.processes import (
    ask_first,
    count_processes,
    find_rank,
    gather,
    take_share,
    try_together,
    working_alone,
)
from pyro_vae.training.noise import mix_seeds

Result = TypeVar("Result")


def measure_shares(
    measure: Callable[[tuple], Result],
    data: tuple,
    join: Callable[[Sequence[Result]], Result] = join_blocks,
) -> Result:
    """Measure data that several processes have: each measures its share of the rows.

    Each has random draws of its own. They follow from the random state of the first process, and
    from how many there are.

    Arguments:
        measure: Measures rows of the data, each by itself.
        data: Tensors of equal length.
        join: Joins the results of the shares, in the order of the rows.

    Returns:
        What `measure` returns, of all data, in every process.

    Raises:
        Exception: what `measure` raises, in every process.

    Example:
        >>> measure_shares(lambda data: data[0] + 1, (torch.zeros(3),))
        tensor([1., 1., 1.])
    """
    count = count_processes()
    if count == 1:
        return measure(data)

    drawn = int(torch.randint(2**62, ()))
    seed = ask_first(lambda: drawn)
    if len(data[0]) < count:
        return ask_first(lambda: measure(data))
    share = take_share(len(data[0]))
    mine = tuple(d[share] for d in data)
    return join(gather(try_together(lambda: _measure_alone(measure, mine, seed))))


def _measure_alone(measure: Callable[[tuple], Result], data: tuple, seed: int) -> Result:
    with torch.random.fork_rng(), working_alone():
        torch.manual_seed(mix_seeds(seed, find_rank()))
        return measure(data)
