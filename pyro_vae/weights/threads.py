"""How many threads torch computes with: one where the work is small.

Threads that work together wait for each other in a loop, at the end of every operation. Where
another process holds a core, they wait until it lets go: small work takes many times as long.
"""

import functools
import inspect
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

STEP = 4e7  # products of a step, forward, from which on a second thread pays
MEASUREMENT = 5e11  # the same of a whole measurement: some ten seconds of one thread
DENSITY = 30  # products that cost as much as the density of a number
CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # with them a person has chosen

Options = ParamSpec("Options")
Result = TypeVar("Result")


@contextmanager
def spared_threads(work: float, least: float) -> Iterator[None]:
    """Inside this context torch computes with one thread, where the work is small.

    What it computes depends on the number of threads, in the last bits. So it follows from the size
    of the work, not from a race or the load, and a run that is resumed has what it had. Where a
    person has set `OMP_NUM_THREADS` or `MKL_NUM_THREADS` it is left alone.

    Arguments:
        work: Products, as of `count_products`.
        least: From how many on all threads are taken.
    """
    threads = torch.get_num_threads()
    is_chosen = any(os.environ.get(name) for name in CHOSEN)
    if work >= least or threads == 1 or is_chosen:
        yield
        return

    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def count_products(pair: nn.Module, numbers: int) -> float:
    """Roughly how many products a row takes: one for each weight, kernels at each place of x.

    Arguments:
        pair: The pair.
        numbers: How many numbers a row of x has.

    Example:
        >>> import pyro_vae as pv
        >>> net = functools.partial(pv.networks.mlp, hidden=(5,))
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2, net=net),
        ...     variational=pv.Normal(2, given=3, net=net),
        ... )
        >>> count_products(vae, 3) - 3 * DENSITY
        60
    """
    matrices = [p for p in pair.parameters() if p.dim() > 1]
    products = sum(p.numel() * (numbers if p.dim() > 2 else 1) for p in matrices)
    return products + DENSITY * numbers


def sparing_threads(
    *counts: str,
) -> Callable[[Callable[Options, Result]], Callable[Options, Result]]:
    """A decorator for what measures a pair and data, which takes one thread where that is little.

    Arguments:
        counts: The options whose product is how many times each row passes through the pair.
    """

    def decorate(measure: Callable[Options, Result]) -> Callable[Options, Result]:
        parameters = inspect.signature(measure).parameters

        @functools.wraps(measure)
        def run(*given: Options.args, **options: Options.kwargs) -> Result:
            passes = [options.get(name, parameters[name].default) for name in counts]
            with spared_threads(_count_work(given, passes), MEASUREMENT):
                return measure(*given, **options)

        return run

    return decorate


def _count_work(given: Sequence, passes: Sequence) -> float:
    """The products of a measurement. What is no pair or no data is none, and is refused later."""
    if not all(isinstance(count, Integral) for count in passes):
        return 0.0
    match given:
        case nn.Module() as pair, Integral() as rows, *_:  # so many data are simulated
            return rows * count_products(pair, 1) * math.prod(passes)
        case nn.Module() as pair, Tensor() | np.ndarray() as x, *_ if x.ndim:
            return len(x) * count_products(pair, math.prod(x.shape[1:])) * math.prod(passes)
    return 0.0
