"""Random states: how they are kept, put back, and left alone."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.processes import count_processes, find_rank
from pyro_vae.training.kept import Kept


def fork(device: torch.device) -> AbstractContextManager:
    """Inside this context random draws are free. Afterwards the random states are as they were."""
    return torch.random.fork_rng(devices=_list_cuda(device))


def _list_cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


class RandomStates(Kept):
    """The random states of the CPU and of the device that trains."""

    def __init__(self, device: torch.device):
        self.cuda = _list_cuda(device)

    def pack(self) -> dict[str, Any]:
        return {
            "cpu": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state(device) for device in self.cuda],
        }

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        torch.set_rng_state(saved["cpu"])
        for device, state in zip(self.cuda, saved["cuda"], strict=False):
            torch.cuda.set_rng_state(state, device)


class EpochStart(Kept):
    """The random states at the start of the epoch, from which its order of the data follows.

    Arguments:
        generator: The generator that a loader has for itself, if it has one.
    """

    def __init__(self, generator: torch.Generator | None):
        self.generator = generator
        self.mark()

    def mark(self) -> None:
        """An epoch starts here."""
        self.state = torch.get_rng_state()
        self.order = self._read_order()

    def recall(self) -> None:
        """Draw again what the epoch drew. Call it inside `fork`."""
        torch.set_rng_state(self.state)

    def pack(self) -> dict[str, Any]:
        return {"state": self.state, "order": self.order}

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        self.state = saved["state"]
        self.order = saved["order"]
        if self.generator is not None and self.order is not None:
            self.generator.set_state(self.order)

    def _read_order(self) -> Tensor | None:
        if self.generator is None:
            return None
        return self.generator.get_state()


class OwnDraws:
    """Random draws of each process by itself, which follow from a number that all have drawn.

    All processes have the same random states between these contexts. So they draw the same order of
    the data, and a checkpoint needs one state, whatever the number of processes. Where there is one
    process, nothing changes.

    Arguments:
        device: The device that draws.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.base = 0
        self.batch = 0

    def start_epoch(self) -> None:
        """Find the number from which the draws of the epoch follow. The random state stays."""
        self.batch = 0
        with fork(self.device):
            self.base = int(torch.randint(2**62, ()))

    @contextmanager
    def of_batch(self) -> Iterator[None]:
        """Inside this context the next batch is gathered, and transformed."""
        self.batch += 1
        with self._draw(0):
            yield

    @contextmanager
    def of_step(self) -> Iterator[None]:
        """Inside this context a step is taken on the last batch."""
        with self._draw(1):
            yield

    @contextmanager
    def _draw(self, use: int) -> Iterator[None]:
        if count_processes() == 1:
            yield
            return
        with fork(self.device):
            torch.manual_seed(mix_seeds(self.base, self.batch, find_rank(), use))
            yield


def mix_seeds(*seeds: int) -> int:
    """A seed that follows from several.

    Example:
        >>> mix_seeds(1, 2) == mix_seeds(2, 1)
        False
    """
    return int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1)
