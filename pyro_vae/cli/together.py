"""A command in several processes, as torchrun starts them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

import torch
from torch import distributed

from pyro_vae.cli.runs import Run
from pyro_vae.processes import is_first


@contextmanager
def joined() -> Iterator[None]:
    """Inside this context the processes that torchrun has started work together.

    The first one alone writes on standard output.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    _join()
    try:
        with open(os.devnull, "w") as nothing, redirect_stdout(_choose_output(nothing)):
            yield
    finally:
        distributed.destroy_process_group()


def _join() -> None:
    store, rank, count = next(distributed.rendezvous("env://"))
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        # torchrun keeps one store, in which processes that restart find where dead ones listened;
        # machines count restarts each by itself, so that this mends it on one machine alone
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"attempt {attempt}", store)
    distributed.init_process_group(store=store, rank=rank, world_size=count)


def _choose_output(nothing: TextIO) -> TextIO:
    return sys.stdout if is_first() else nothing


def is_restarted(out: Path | None) -> bool:
    """Whether torchrun has started a run of this folder before, which is then to go on.

    Raises:
        ValueError: if it may have to, and the folder has no name.
    """
    if out is None:
        if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
            raise ValueError("out: name the folder, so that processes that restart find it")
        return False
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and Run(out).is_begun
