"""What a run has to itself in its process: Pyro's stack of handlers, and the threads of OpenMP."""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_imported_in = os.getpid()
_turns: dict[int, threading.RLock] = {}  # by process, for a fork copies locks as they are


@contextmanager
def take_turn() -> Iterator[None]:
    """Inside this context no other thread trains. A callback may train another pair.

    In a process that was forked, it trains with one thread. The threads of OpenMP are not copied by
    a fork, and who waits for them waits forever.

    Raises:
        RuntimeError: if another thread trains.
    """
    turn = _turns.setdefault(os.getpid(), threading.RLock())
    if not turn.acquire(blocking=False):
        raise RuntimeError(
            "fit: another thread of this process is in fit, and Pyro has one stack of handlers for "
            "all threads. Train one pair after the other, or each in a process of its own."
        )
    try:
        with _leave_threads_alone():
            yield
    finally:
        turn.release()


@contextmanager
def _leave_threads_alone() -> Iterator[None]:
    threads = torch.get_num_threads()
    if os.getpid() == _imported_in or threads == 1:
        yield
        return

    warnings.warn(
        f"fit: this process was forked, so it trains with one thread and not with {threads}. Start "
        "processes with multiprocessing's 'spawn' for more.",
        RuntimeWarning,
        stacklevel=6,
    )
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
