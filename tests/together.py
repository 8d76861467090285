"""Functions that several processes run together, in a process group of this machine."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed, multiprocessing


def run_together(function: Callable, *arguments: Any, count: int = 2) -> list:
    """What a function returns in each of so many processes. It is one that pickle can name."""
    with TemporaryDirectory() as folder:
        multiprocessing.spawn(_run, (count, folder, function, arguments), nprocs=count)
        return [torch.load(_name(folder, rank), weights_only=False) for rank in range(count)]


def _run(rank: int, count: int, folder: str, function: Callable, arguments: tuple) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=count)
    torch.save(function(*arguments), _name(folder, rank))
    distributed.destroy_process_group()


def _name(folder: str, rank: int) -> str:
    return os.fspath(Path(folder) / f"{rank}.pt")
