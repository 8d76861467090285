"""The processes that work together, or the only one. Work is shared out by rows of data."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import distributed, nn

Result = TypeVar("Result")


_is_alone: ContextVar[bool] = ContextVar("_is_alone", default=False)


def count_processes() -> int:
    """How many processes work together: those of torch's process group, or this one alone."""
    if _is_alone.get() or not _has_group():
        return 1
    return distributed.get_world_size()


def find_rank() -> int:
    """The number of this process in its group, from 0."""
    return distributed.get_rank() if _has_group() else 0


def _has_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def working_alone() -> Iterator[None]:
    """Inside this context a process works alone, and waits for no other."""
    before = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(before)


def is_first() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return find_rank() == 0


def take_share(rows: int) -> slice:
    """The rows that are this process's share: next to each other, and as many as any other's.

    The first processes have one more where it does not come out even. The others may have none.

    Example:
        >>> take_share(5)
        slice(0, 5, None)
    """
    count = count_processes()
    return cut_share(rows, find_rank() if count > 1 else 0, count)


def cut_share(rows: int, rank: int, count: int) -> slice:
    """The share of one process of so many.

    Example:
        >>> [cut_share(5, rank, 2) for rank in range(2)]
        [slice(0, 3, None), slice(3, 5, None)]
    """
    each, more = divmod(rows, count)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def add_up(*numbers: float) -> list[float]:
    """Each number, summed over the processes. All get the same sums, to the last bit.

    Example:
        >>> add_up(1.0, 2.0)
        [1.0, 2.0]
    """
    if count_processes() == 1:
        return list(numbers)
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    sums = torch.tensor(numbers, dtype=torch.float64, device=device)
    distributed.all_reduce(sums)
    return sums.tolist()


def ask_first(function: Callable[[], Result]) -> Result:
    """What a function returns in the first process, which calls it alone.

    Raises:
        Exception: what the function raises, in all processes.

    Example:
        >>> ask_first(lambda: 3)
        3
    """
    if count_processes() == 1:
        return function()

    answer: list = [None, None]
    error: Exception | None = None
    if is_first():
        try:
            with working_alone():
                answer[0] = function()
        except Exception as caught:
            error = caught
            answer[1] = _describe_error(caught)
    distributed.broadcast_object_list(answer)
    if error is not None:
        raise error
    if answer[1] is not None:
        kind, message = answer[1]
        raise kind(message)
    return answer[0]


def _describe_error(error: Exception) -> tuple[type[Exception], str]:
    """An error of a kind that every process can make again."""
    kinds = (TypeError, ValueError, FloatingPointError)
    kind = next((k for k in kinds if isinstance(error, k)), RuntimeError)
    return kind, str(error)


def by_first(function: Callable[..., None]) -> Callable[..., None]:
    """A function that the first process alone runs, such as one that writes a file."""

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> None:
        if is_first():
            function(*arguments, **options)

    return run


@contextmanager
def entered_by_first(make: Callable[[], AbstractContextManager]) -> Iterator[None]:
    """Inside this context the first process is in another, and the others wait until it is.

    Raises:
        Exception: what is raised where the first process enters it, in all processes.
    """
    with ExitStack() as stack:

        def enter() -> None:
            stack.enter_context(make())

        ask_first(enter)
        yield


def gather(value: Result) -> list[Result]:
    """What each process gives, in their order.

    Example:
        >>> gather(3)
        [3]
    """
    if count_processes() == 1:
        return [value]
    values: list = [None] * count_processes()
    distributed.all_gather_object(values, value)
    return values


def try_together(function: Callable[[], Result]) -> Result:
    """What a function returns here, if it raises in no process. All of them call it.

    Raises:
        Exception: what the function raises here.
            If it raises in another process, an error of that kind that names the process.
    """
    if count_processes() == 1:
        return function()

    error: Exception | None = None
    try:
        result = function()
    except Exception as caught:
        error = caught
    said = gather(None if error is None else _describe_error(error))
    if error is not None:
        raise error
    for rank, fault in enumerate(said):
        if fault is not None:
            kind, message = fault
            raise kind(f"process {rank}: {message}")
    return result


def share_buffers(module: nn.Module) -> None:
    """Give all processes the buffers of the first, such as the running means of a batch norm."""
    if count_processes() == 1:
        return
    for buffer in module.buffers():
        distributed.broadcast(buffer, 0)
