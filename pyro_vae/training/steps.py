"""One step of an optimiser: in Python, or as one CUDA graph."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyro_vae.arguments import say
from pyro_vae.objectives.objective import Objective
from pyro_vae.objectives.schedules import Scheduled
from pyro_vae.training.adam import Adam
from pyro_vae.training.checkpoints import list_tensors

WARM_UP = 3  # steps before a capture, in which libraries set themselves up

Check = Callable[[Tensor, tuple, Tensor], None]


class Taken(NamedTuple):
    """A step that was taken: the mean loss before it, and of how many rows."""

    loss: Tensor
    rows: int


class Step:
    """A step: the loss of a batch, its gradients, and the optimiser's change of the weights.

    Arguments:
        objective: The objective.
        optimizer: The optimiser of its parameters.
        precision: None, or "bf16" for matrix products in bfloat16.
        check: Raises an error if a loss is not finite. It gets the loss, the batch, and the random
            state before the step. On a GPU it is not called, as it would wait for the loss.
    """

    def __init__(
        self, objective: nn.Module, optimizer: Optimizer, precision: str | None, check: Check
    ):
        self.objective = objective
        self.optimizer = optimizer
        self.check = check
        self.device = next(objective.parameters()).device.type
        self.is_bf16 = precision == "bf16"

    def __call__(self, batch: tuple[Tensor, ...]) -> Taken:
        """Take the step."""
        random_state = torch.get_rng_state()

        if isinstance(self.objective, Objective) and self.objective.is_compiled:
            loss = self._take_compiled(self.objective, batch, random_state)
        else:
            loss = self._take(batch, random_state)

        return Taken(loss, batch[0].shape[0])

    def _take(self, batch: tuple[Tensor, ...], random_state: Tensor) -> Tensor:
        with self.autocast():
            loss = self.objective(*batch)
        _check_loss(loss)
        self._check(loss, batch, random_state)
        self._descend(loss)
        return loss.detach()

    def _take_compiled(
        self, objective: Objective, batch: tuple[Tensor, ...], random_state: Tensor
    ) -> Tensor:
        """The same where the gradients come with the loss."""
        with self.autocast():
            loss = objective.set_gradients(*batch)
        self._check(loss, batch, random_state)
        self.optimizer.step()
        return loss

    def autocast(self) -> AbstractContextManager:
        """The precision of a loss, whatever is around it."""
        if not self.is_bf16 and not torch.is_autocast_enabled(self.device):
            return nullcontext()
        return torch.autocast(self.device, torch.bfloat16, enabled=self.is_bf16)

    def _check(self, loss: Tensor, batch: tuple[Tensor, ...], random_state: Tensor) -> None:
        if not loss.is_cuda:
            self.check(loss, batch, random_state)

    def _descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def _check_loss(loss: object) -> None:
    """Raise an error unless an objective of the user returned a mean loss to be lowered."""
    if not isinstance(loss, Tensor) or loss.dim():
        raise TypeError(
            "objective: expected a module that returns the mean loss, a tensor without "
            f"dimensions, and it returned {say(loss)}"
        )
    if not loss.requires_grad:
        raise ValueError(
            "objective: its loss does not depend on the parameters to be trained, so it has no "
            "gradient; is it computed under torch.no_grad(), or detached?"
        )


class CapturedStep:
    """A step as one CUDA graph, which is captured at the first batch.

    A batch of another shape, the last of an epoch for one, takes an ordinary step.

    Arguments:
        step: The step. Its optimiser must be capturable.
    """

    def __init__(self, step: Step):
        self.step = step
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: tuple[Tensor, ...]) -> Taken:
        """Take the step."""
        graph = self.graph or self._capture(batch)
        if not self._fits(batch):
            return self.step(batch)

        for module in self.scheduled:
            module.advance()
        for mine, given in zip(self.batch, batch, strict=True):
            mine.copy_(given)
        graph.replay()
        return Taken(self.loss.clone(), batch[0].shape[0])

    def _fits(self, batch: tuple[Tensor, ...]) -> bool:
        pairs = zip(self.batch, batch, strict=True)
        return all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)

    def _capture(self, batch: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph:
        modules = self.step.objective.modules()
        self.scheduled = [module for module in modules if isinstance(module, Scheduled)]
        self.batch = tuple(b.clone() for b in batch)
        self._warm_up()

        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self.step(self.batch).loss
        return self.graph

    def _warm_up(self) -> None:
        """Take some steps on a stream of their own, and undo what they changed."""
        device = self.batch[0].device
        weights = list(list_tensors(self.step.objective).values())
        slots = _list_slots(self.step.optimizer)
        before = [(tensor, tensor.detach().clone()) for tensor in [*weights, *slots]]
        random_state = torch.cuda.get_rng_state(device)

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.step(self.batch)
        torch.cuda.current_stream().wait_stream(stream)

        with torch.no_grad():
            if not slots:  # the warm-up made them, and they start at zero
                for slot in _list_slots(self.step.optimizer):
                    slot.zero_()
            for tensor, value in before:
                tensor.copy_(value)
        torch.cuda.set_rng_state(random_state, device)


def _list_slots(optimizer: Optimizer) -> list[Tensor]:
    """The tensors of an optimiser's state."""
    slots = [value for state in optimizer.state.values() for value in state.values()]
    return [slot for slot in slots if isinstance(slot, Tensor)]


def make_adam(
    parameters: list[nn.Parameter], learning_rate: float, is_captured: bool
) -> torch.optim.Adam:
    """The optimiser that is used by default.

    Arguments:
        parameters: The parameters.
        learning_rate: Its rate.
        is_captured: Whether its steps become part of a CUDA graph.
    """
    device = parameters[0].device
    if device.type == "cpu":
        return Adam(parameters, learning_rate)
    # a graph reads the rate from a tensor
    rate = torch.tensor(learning_rate, device=device) if is_captured else learning_rate
    # only the fused step keeps up with networks as small as these
    return torch.optim.Adam(parameters, lr=rate, fused=True, capturable=is_captured)


@contextmanager
def compile_inside(objective: nn.Module) -> Iterator[None]:
    """Inside this context each `Objective` of an objective is compiled, if it was not before.

    Raises:
        ValueError: if there is none.
    """
    inner = [module for module in objective.modules() if isinstance(module, Objective)]
    if not inner:
        raise ValueError(
            "compile: the objective holds no pv.Objective, which is the part that can be compiled"
        )

    chosen = [module for module in inner if not module.is_compiled]
    for module in chosen:
        module.compile()
    try:
        yield
    finally:
        for module in chosen:
            module.uncompile()
