"""What is not finite: which parameter or site it is, and what to do about it."""

import math
from pathlib import Path
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.training.randomness import fork
from pyro_vae.training.state import SYNC, State
from pyro_vae.weights.traces import latent_values, log_prob, sample_sites, trace

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
        fault = fault or find_bad_site(self.pair, batch, random_state)
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


def find_bad_site(pair: Any, batch: tuple, random_state: Tensor) -> str:
    """The first site that is not finite. It is found by running the step again."""
    try:
        traces = _run_again(pair, batch, random_state)
    except Exception as error:
        return f"running the step again fails, {type(error).__name__}: {error}"

    for side, run in traces.items():
        for name, site in sample_sites(run).items():
            fault = _describe_fault(f"site {name!r} of the {side}", site)
            if fault is not None:
                return fault
    return "each site is finite by itself, so a term that the objective adds is at fault"


def _run_again(pair: Any, batch: tuple, random_state: Tensor) -> dict[str, Trace]:
    with fork(torch.device("cpu")), torch.no_grad(), OwnParameters():
        torch.set_rng_state(random_state)
        guide_trace = trace(pair.guide, batch)
        model_trace = trace(pair.model, batch, latents=latent_values(guide_trace))
    return {"guide": guide_trace, "model": model_trace}


def _describe_fault(where: str, site: dict) -> str | None:
    if not site["value"].isfinite().all():
        return f"the value of {where} is not finite"

    bad = ~log_prob(site).isfinite()
    if bad.any():
        row = int(bad.flatten().nonzero()[0])
        return f"log p of {where} is not finite, first for row {row} of the batch"
    return None
