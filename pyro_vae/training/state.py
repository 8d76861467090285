"""Where a run is: everything that must be kept to go on exactly."""

import math
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pyro_vae.training.checkpoints import OBJECTIVE, PAIR, copy_into, list_tensors
from pyro_vae.training.history import Record
from pyro_vae.training.kept import Kept, match
from pyro_vae.training.randomness import EpochStart, RandomStates

SYNC = 50  # steps on CUDA between two looks at the loss


class State:
    """Where a run is. Each attribute is `Kept`, and a checkpoint holds each under its name."""

    def __init__(
        self,
        pair: nn.Module,
        objective: nn.Module,
        optimizer: Optimizer,
        schedule: Any,
        device: torch.device,
        generator: torch.Generator | None = None,
    ):
        self.weights = ModuleTensors(pair, objective)
        self.best = Best()
        self.optimizer = OptimizerState(optimizer)
        self.schedule = Schedule(schedule)
        self.record = Record()
        self.position = Position()
        self.epoch_start = EpochStart(generator)
        self.random = RandomStates(device)

    def pack(self) -> dict[str, Any]:
        """All parts by name."""
        return {name: part.pack() for name, part in vars(self).items()}

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        """Go on from what `pack` returned, once it was in a file.

        Raises:
            ValueError: if it is the state of another run. It names the source.
        """
        for name, part in vars(self).items():
            part.unpack(saved[name], source)

    def describe_place(self) -> str:
        """The epoch and the step that come next."""
        return f"epoch {self.record.epochs + 1}, step {self.position.batches + 1}"


class ModuleTensors(Kept):
    """The parameters and buffers of the pair, and those that the objective has beside it."""

    def __init__(self, pair: nn.Module, objective: nn.Module):
        self.pair = pair
        self.objective = objective

    def list_all(self) -> dict[str, Tensor]:
        """The tensors themselves, under names that tell the pair's from the others."""
        own = list_tensors(self.pair)
        seen = {id(tensor) for tensor in own.values()}
        held = list_tensors(self.objective)
        others = {name: tensor for name, tensor in held.items() if id(tensor) not in seen}

        tensors = {PAIR + name: tensor for name, tensor in own.items()}
        tensors |= {OBJECTIVE + name: tensor for name, tensor in others.items()}
        return tensors

    def copy(self) -> dict[str, Tensor]:
        """Copies that training does not change."""
        return {name: tensor.detach().clone() for name, tensor in self.list_all().items()}

    def pack(self) -> dict[str, Tensor]:
        return self.list_all()

    def unpack(self, saved: dict[str, Tensor], source: str) -> None:
        copy_into(self.list_all(), saved, source)


@dataclass
class Best(Kept):
    """The weights after the epoch with the best ELBO so far. It is filled only with `patience`."""

    epoch: int = -1
    elbo: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)

    def is_beaten_by(self, elbo: float) -> bool:
        """Whether an ELBO is better than the best so far. One that is not finite never is."""
        return math.isfinite(elbo) and elbo > self.elbo

    def replace(self, epoch: int, elbo: float, weights: dict[str, Tensor]) -> None:
        """This epoch is the best one now."""
        self.epoch = epoch
        self.elbo = elbo
        self.weights = weights

    def count_since(self, epochs: int) -> int:
        """How many epochs came after the best one, of so many."""
        if not self.weights:
            return 0
        return epochs - 1 - self.epoch

    def pack(self) -> dict[str, Any]:
        return dict(vars(self))

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        vars(self).update(saved)


class OptimizerState(Kept):
    """The state of a torch optimiser."""

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer

    def pack(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        now = self.optimizer.state_dict()
        slots = {int(i): values for i, values in saved["state"].items()}
        groups = match(saved["param_groups"], now["param_groups"])

        try:
            self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"checkpoint: {source} is of a run with another optimizer: {error}"
            ) from None


class Schedule(Kept):
    """A schedule of learning rates, or none."""

    def __init__(self, schedule: Any):
        self.schedule = schedule

    def advance(self, elbo: float) -> None:
        """An epoch has ended with this ELBO."""
        if self.schedule is None:
            return
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(-elbo)
        else:
            self.schedule.step()

    def pack(self) -> dict[str, Any] | None:
        if self.schedule is None:
            return None
        return self.schedule.state_dict()

    def unpack(self, saved: dict[str, Any] | None, source: str) -> None:
        if self.schedule is not None:
            now = self.schedule.state_dict()
            self.schedule.load_state_dict(match(saved, now))


@dataclass
class Position(Kept):
    """Where a run is within its epoch.

    Attributes:
        batches: How many batches are done.
        loss_sum: The sum of their losses, each times its rows, as far as it was read.
        rows: How many rows they had.
        seconds: How long they took.
        is_bound: Whether minus the loss was a lower bound on log p(x) in the first of them.
        unread: The rest of the sum, which may still be computed on a GPU.
    """

    batches: int = 0
    loss_sum: float = 0.0
    rows: int = 0
    seconds: float = 0.0
    is_bound: bool = True
    unread: Tensor | None = None

    def add(self, loss: Tensor, rows: int) -> None:
        """A batch of so many rows is done, with this mean loss."""
        each = loss * rows
        self.unread = each if self.unread is None else self.unread + each
        self.batches += 1
        self.rows += rows
        # on a GPU to read a number is to wait for it
        if not loss.is_cuda or self.batches % SYNC == 0:
            self.read()

    def read(self) -> None:
        """Fetch the losses that were not read yet."""
        if self.unread is not None:
            self.loss_sum += self.unread.item()
            self.unread = None

    def reset(self) -> None:
        """Back to the start of an epoch."""
        vars(self).update(vars(Position()))

    def pack(self) -> list:
        self.read()
        return list(astuple(self))

    def unpack(self, saved: list, source: str) -> None:
        vars(self).update(zip(vars(self), saved, strict=True))
