"""Where a run is: everything that must be kept to go on exactly."""

import copy
import math
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pyro_vae.compiling.joint import lay_out
from pyro_vae.objectives.objective import Loss
from pyro_vae.training.checkpoints import OBJECTIVE, PAIR, check_same, copy_into, list_tensors
from pyro_vae.training.history import Record
from pyro_vae.training.kept import Kept, match, reading
from pyro_vae.training.origin import HOW, PLAIN, TORCHS, Origin
from pyro_vae.training.randomness import EpochStart, RandomStates

SYNC = 50  # steps on CUDA between two looks at the loss


class State:
    """Where a run is. Each attribute is `Kept`, and a checkpoint holds each under its name.

    Arguments:
        pair, objective: What is trained.
        optimizer, schedule: How.
        device: Where.
        origin: What the run is made with.
        generators: Those that data, transform and modules have for themselves.
    """

    def __init__(
        self,
        pair: nn.Module,
        objective: nn.Module,
        optimizer: Optimizer,
        schedule: Any,
        device: torch.device,
        origin: Origin,
        generators: list | None = None,
    ):
        self.origin = origin  # the first, so that another run changes nothing
        self.weights = ModuleTensors(pair, objective)
        self.settings = ModuleSettings(objective)
        self.best = Best()
        self.optimizer = OptimizerState(optimizer)
        self.schedule = Schedule(schedule)
        self.record = Record()
        self.position = Position()
        self.bound = Bound(objective)
        self.random = RandomStates(device, generators)
        self.epoch_start = EpochStart(self.random)

    def pack(self) -> dict[str, Any]:
        """All parts by name."""
        return {name: part.pack() for name, part in vars(self).items()}

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        """Go on from what `pack` returned, once it was in a file.

        Raises:
            ValueError: if it is the state of another run, or none. It names the source.
        """
        lacking = [name for name in vars(self) if name not in saved]
        if lacking:
            raise ValueError(
                f"checkpoint: {source} was written by another version of this library, for it has "
                f"no {lacking[0]}; read its weights with load_weights, and start a new run"
            )
        for name, part in vars(self).items():
            if name != "weights":
                with reading(source, name):
                    part.unpack(saved[name], source)
        # these come last, so that a state that is refused leaves the pair as it was
        with reading(source, "weights"):
            if self.best.weights:
                self.weights.check(self.best.weights, source)
            self.weights.unpack(saved["weights"], source)

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
        self.check(saved, source)
        copy_into(self.list_all(), saved, source)

    def check(self, saved: dict[str, Tensor], source: str) -> None:
        """Refuse tensors of another pair."""
        check_same(self.list_all(), match(saved, {}), source)


class ModuleSettings(Kept):
    """What a callback may change of modules beside their tensors.

    That is whether a parameter is trained, and attributes that are numbers, texts or None.
    """

    def __init__(self, objective: nn.Module):
        self.objective = objective
        self.start = self._read()
        self.changed: dict[str, Any] = {}

    def pack(self) -> dict[str, Any]:
        """Those that are no longer as they were when the run started."""
        now = self._read()
        same = {name for name in now if _is_same(now[name], self.start.get(name))}
        return {name: now[name] for name in now if name not in same or name in self.changed}

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        self.changed = saved
        for path, module in self.objective.named_modules():
            for name in _list_plain(module):
                key = f"{path}.{name}"
                if key in saved and isinstance(saved[key], PLAIN):
                    setattr(module, name, saved[key])
        for path, parameter in self.objective.named_parameters():
            parameter.requires_grad_(bool(saved.get(path, parameter.requires_grad)))

    def rewind(self, saved: dict[str, Any]) -> None:
        """Train the parameters that were trained when the run started."""
        for path, parameter in self.objective.named_parameters():
            if path in saved:
                parameter.requires_grad_(not saved[path])

    def _read(self) -> dict[str, Any]:
        parameters = {path: p.requires_grad for path, p in self.objective.named_parameters()}
        attributes = {
            f"{path}.{name}": value
            for path, module in self.objective.named_modules()
            for name, value in _list_plain(module).items()
        }
        return attributes | parameters


def _list_plain(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module that are plain values and its own, not those of torch."""
    own = {name: value for name, value in vars(module).items() if name not in TORCHS}
    return {name: value for name, value in own.items() if isinstance(value, PLAIN)}


def _is_same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and (a == b or a != a)  # NaN is the same as NaN


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
        vars(self).update(match(saved, vars(Best())))


class OptimizerState(Kept):
    """The state of a torch optimiser."""

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer

    def pack(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        groups = [_merge(*both) for both in self._pair_groups(saved["param_groups"], source)]
        slots = {int(i): values for i, values in saved["state"].items()}
        form = _find_form(self.optimizer, groups)
        _check_slots(slots, form, self._list_parameters())

        rates = self.optimizer.param_groups
        try:
            self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"checkpoint: {source} is of a run with another optimizer: {error}"
            ) from None
        _keep_tensors(self.optimizer.param_groups, rates)
        _keep_types(self.optimizer.state, slots, form, self._list_parameters())
        # or else torch would warn of a schedule that steps before the optimiser
        self.optimizer._opt_called = True  # type: ignore[attr-defined]

    def _list_parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _pair_groups(self, saved: list, source: str) -> list[tuple[dict, dict]]:
        """The groups as they were saved, each with the group as it is now."""
        now = self.optimizer.state_dict()["param_groups"]
        keys = [group.keys() for group in now]
        if [group.keys() & now[0].keys() for group in saved] != keys:
            raise ValueError(
                f"checkpoint: {source} is of a run with another optimizer: its groups of "
                "parameters have other options"
            )
        return list(zip(saved, now, strict=True))


def _merge(saved: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The options of a group as they were saved, but computed as it is done now."""
    return match(saved | {name: now[name] for name in HOW if name in now}, now)


def _find_form(optimizer: Optimizer, groups: list[dict]) -> dict[int, dict[str, Any]]:
    """What an optimiser with these groups keeps for each parameter after a first step.

    A copy takes the step, on gradients of zero. If it cannot, nothing is known.

    Raises:
        TypeError: if it cannot, and does not check shapes itself.
    """
    try:
        shadow = copy.deepcopy(optimizer)
        shadow.load_state_dict({"state": {}, "param_groups": groups})
        for group in shadow.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        shadow.step()
        return shadow.state_dict()["state"]
    except Exception as error:  # an optimiser of a user's own may want more than gradients
        if any(group.get("fused") for group in groups):
            raise TypeError(f"no step can be taken with its options: {error}") from error
        return {}


def _check_slots(slots: dict[int, Any], form: dict[int, dict], parameters: list[Tensor]) -> None:
    """Refuse what would make a step read or write beyond a tensor, or miss one.

    Raises:
        TypeError: if that is so.
    """
    for i, values in slots.items():
        if i not in range(len(parameters)):
            raise TypeError(f"it has {len(parameters)} parameters, and state of number {i}")
        # what is not there after the first step is at least no smaller than the parameter
        more = {name: parameters[i] for name in values if isinstance(values[name], Tensor)}
        known = {name: value for name, value in form.get(i, {}).items() if value is not None}
        if form and values:
            match(values, more | known)


def _keep_tensors(groups: list[dict], before: list[dict]) -> None:
    """Let a rate in a tensor stay the tensor to which others may refer."""
    for group, old in zip(groups, before, strict=True):
        for name, value in old.items():
            if isinstance(value, Tensor):
                group[name] = value.copy_(group[name])


def _keep_types(
    states: dict[Tensor, Any], slots: dict[int, Any], form: dict[int, dict], parameters: list
) -> None:
    """Undo that torch casts all that it loads to the type of the parameter.

    What has the parameter's shape is stored in its order.
    """
    for i, values in slots.items():
        state = states[parameters[i]]
        for name, value in values.items():
            if i in form and name in form[i]:
                state[name] = match(value, form[i][name])
            elif isinstance(value, Tensor):
                state[name] = value.to(state[name].device)
            else:
                state[name] = value
            if isinstance(value, Tensor) and value.shape == parameters[i].shape:
                state[name] = lay_out(state[name], parameters[i].detach())


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
        unread: The rest of the sum, which may still be computed on a GPU.
    """

    batches: int = 0
    loss_sum: float = 0.0
    rows: int = 0
    seconds: float = 0.0
    unread: Tensor | None = None

    def add(self, loss: Tensor, rows: int) -> None:
        """A batch of so many rows is done, with this mean loss."""
        self.batches += 1
        self.rows += rows
        if not loss.is_cuda:
            self.loss_sum += loss.item() * rows
            return
        each = loss * rows
        self.unread = each if self.unread is None else self.unread + each
        # to read a number is to wait for it
        if self.batches % SYNC == 0:
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
        matched = match(saved, astuple(Position()))
        vars(self).update(zip(vars(self), matched, strict=True))


class Bound(Kept):
    """Whether minus the loss is a lower bound on log p(x) throughout an epoch."""

    def __init__(self, objective: nn.Module):
        self.objective = objective
        self.first = True
        self.last: bool | None = None

    def note_step(self, is_first: bool) -> None:
        """A step was taken."""
        self.last = None
        if is_first:
            self.first = is_bound(self.objective)

    def is_held(self) -> bool:
        """Whether it was one in the first and in the last step."""
        return self.first and self._read_last()

    def pack(self) -> dict[str, bool]:
        return {"first": self.first, "last": self._read_last()}

    def unpack(self, saved: dict[str, bool], source: str) -> None:
        matched = match(saved, self.pack())
        self.first, self.last = matched["first"], matched["last"]

    def _read_last(self) -> bool:
        # an objective may not know it again before it is called
        return is_bound(self.objective) if self.last is None else self.last


def is_bound(objective: nn.Module) -> bool:
    """Whether minus the loss is a lower bound on log p(x) now, as far as the objective says."""
    if isinstance(objective, DistributedDataParallel):
        objective = objective.module
    return isinstance(objective, Loss) and objective.is_lower_bound
