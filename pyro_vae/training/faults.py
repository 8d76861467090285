"""What is not finite: which parameter or site it is, and what to do about it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_vae.objectives.objective import Objective
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.training.randomness import fork
from pyro_vae.training.state import SYNC, State
from pyro_vae.weights.traces import is_plate, log_prob

CURE = "A lower learning rate, data of order one, or clipped gradients usually mend it."


class Watch:
    """Stops a run as soon as a loss or a weight is not finite.

    Arguments:
        pair: The pair.
        objective: The objective.
        state: Where the run is.
        checkpoint: The file of the checkpoint, which is good as long as this watch checks it.

    Raises:
        FloatingPointError: from each method, with the epoch, the step, the site or parameter at
            fault, and the last good checkpoint.
    """

    def __init__(
        self,
        pair: nn.Module,
        objective: nn.Module,
        state: State,
        checkpoint: Path | None,
    ):
        self.pair = pair
        self.objective = objective
        self.state = state
        self.checkpoint = checkpoint

    def check_loss(self, loss: Tensor, batch: tuple, random_state: Tensor) -> None:
        """Check the loss of a step before the weights change.

        Arguments:
            loss: The loss.
            batch: The batch.
            random_state: The state from which the step drew, to run it again.
        """
        value = loss.item()
        if math.isfinite(value):
            return

        fault = find_bad_parameter(self.objective)
        fault = fault or find_bad_site(self.objective, batch, random_state)
        self._stop(f"the loss is {value}", fault)

    def check_losses(self) -> None:
        """Check the losses of the epoch, as far as they were read."""
        if math.isfinite(self.state.position.loss_sum):
            return

        fault = find_bad_parameter(self.objective)
        what = f"the loss of one of the last {SYNC} steps is not finite"
        self._stop(what, fault or "no parameter is at fault")

    def check_weights(self) -> None:
        """Check all weights."""
        finite = [p.isfinite().all() for p in self.objective.parameters()]
        if all(torch.stack(finite).tolist()):
            return

        fault = find_bad_parameter(self.objective)
        self._stop("weights are not finite", fault or "no parameter is at fault")

    def check_state(self) -> None:
        """Check all that a checkpoint would hold."""
        self.check_weights()
        self.state.position.read()
        self.check_losses()

    def _stop(self, what: str, fault: str) -> None:
        place = self.state.describe_place()
        checkpoint = describe_last_good(self.checkpoint)
        raise FloatingPointError(f"{what} in {place}: {fault}; {checkpoint}. {CURE}")


def describe_last_good(checkpoint: Path | None) -> str:
    """Which checkpoint there is to go back to."""
    if checkpoint is None:
        return "no checkpoint= was given"
    if not checkpoint.exists():
        return "no checkpoint was written yet"
    return f"the last good checkpoint is {checkpoint}"


def find_bad_parameter(objective: nn.Module) -> str | None:
    """The first parameter that is not finite, or None."""
    for name, p in objective.named_parameters():
        bad = int((~p.isfinite()).sum())
        if bad:
            return (
                f"{bad} of {p.numel()} values of the parameter {name} are not finite, "
                "since the step before"
            )
    return None


def find_bad_site(objective: nn.Module, batch: tuple, random_state: Tensor) -> str:
    """The first site that is not finite. It is found by running the step again, with its draws."""
    look = _Look()
    try:
        with fork(torch.device("cpu")), _unchanged(objective), torch.no_grad(), OwnParameters():
            torch.set_rng_state(random_state)
            with look:
                objective(*batch)
    except Exception as error:
        return f"running the step again fails, {type(error).__name__}: {error}"
    return look.fault or (
        "each site is finite by itself, so a term that the objective adds is at fault"
    )


class _Look(Messenger):
    """Looks at each site that is run inside this context.

    Attributes:
        fault: The first site that is not finite, in words, or None.
        drawn: The latents so far. The guide draws them before the model scores them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fault: str | None = None
        self.drawn: set[str] = set()

    def _pyro_post_sample(self, msg: dict) -> None:
        if self.fault is not None or is_plate(msg):
            return
        name = msg["name"]
        side = "model" if msg["is_observed"] or name in self.drawn else "guide"
        self.drawn.add(name)
        self.fault = _describe_fault(f"site {name!r} of the {side}", msg)


@contextmanager
def _unchanged(objective: nn.Module) -> Iterator[None]:
    """Inside this context an objective runs handlers. Its buffers are put back afterwards."""
    before = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    modules = [module for module in objective.modules() if isinstance(module, Objective)]
    compiled = [(module, module._compiled_call_impl) for module in modules]
    for module in modules:
        module.uncompile()
    try:
        yield
    finally:
        for module, call in compiled:
            module._compiled_call_impl = call
        for buffer, value in before:
            buffer.copy_(value)


def _describe_fault(where: str, site: dict) -> str | None:
    if not site["value"].isfinite().all():
        return f"the value of {where} is not finite"

    bad = ~log_prob(site).isfinite()
    if bad.any():
        row = int(bad.nonzero()[0, -1]) if bad.dim() else 0
        return f"log p of {where} is not finite, first for row {row} of the batch"
    return None
