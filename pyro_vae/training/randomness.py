"""Random states: how they are kept, put back, and left alone."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

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
