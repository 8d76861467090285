"""Who looks on at a run: the checkpoint, the progress bar, the callback."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from pyro_vae.processes import ask_first, is_first
from pyro_vae.progress import progress_bar
from pyro_vae.training.checkpoints import write_tree
from pyro_vae.training.faults import Watch
from pyro_vae.training.history import History
from pyro_vae.training.loop import Observer
from pyro_vae.training.randomness import fork
from pyro_vae.training.state import State


class Checkpoint(Observer):
    """Writes the state of a run to a file, from which the run can go on.

    Of several processes the first writes and reads it. Their state is the same.

    Arguments:
        path: The file.
        every: Seconds between two writings. With 0 it writes after every step.
        watch: Checks the state before it is written.
    """

    def __init__(self, path: Path, every: float, watch: Watch):
        self.path = path
        self.every = every
        self.watch = watch
        self.written_at = time.monotonic()

    def after_step(self, state: State) -> None:
        self._write_if_due(state)

    def after_epoch(self, state: State) -> None:
        self._write_if_due(state)

    def at_end(self, state: State) -> None:
        self._write(state)

    def on_interruption(self, state: State) -> str:
        """Write the state, and say how to go on."""
        self._write(state)
        return f"go on with fit(..., checkpoint={str(self.path)!r}, resume=True)"

    def _write_if_due(self, state: State) -> None:
        if time.monotonic() - self.written_at >= self.every:
            self._write(state)

    def _write(self, state: State) -> None:
        if not is_first():
            return
        self.watch.check_state()
        try:
            write_tree(self.path, state.pack())
        except OSError as error:
            raise OSError(
                f"checkpoint: {error}, then go on with resume=True. The pair in memory has what was"
                f" learned before {state.describe_place()}"
            ) from error
        self.written_at = time.monotonic()


class NoCheckpoint(Observer):
    """Writes nothing. It checks the weights where a checkpoint would.

    Arguments:
        watch: Checks the weights.
    """

    def __init__(self, watch: Watch):
        self.watch = watch

    def at_end(self, state: State) -> None:
        self.watch.check_weights()

    def on_interruption(self, state: State) -> str:
        """Say that nothing was written."""
        self.watch.check_weights()
        return "no checkpoint= was given, so only the pair in memory has what was learned"


class Bar(Observer):
    """A progress bar over all steps.

    Arguments:
        state: Where the run starts.
        epochs: How many epochs there are in all.
        batches: How many batches an epoch has, or 0 if that is not known.
        show: Whether to show it.
    """

    def __init__(self, state: State, epochs: int, batches: int, show: bool):
        done = state.record.epochs * batches + state.position.batches
        self.bar = progress_bar(epochs * batches, "epoch 1", show=show)
        self.bar.update(done)

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def after_step(self, state: State) -> None:
        self.bar.update()

    def after_epoch(self, state: State) -> None:
        history = state.record.history
        loss, elbo = history.loss[-1], history.elbo[-1]
        self.bar.set_description(f"epoch {state.record.epochs + 1}")
        self.bar.set_postfix_str(f"loss {loss:.2f}, elbo {elbo:.2f}")


class Callback(Observer):
    """Calls a function of the user after each epoch. Its random draws do not change the run.

    Arguments:
        function: Called with the history, by the first of several processes. The run stops if it
            returns True, and nothing else.
        device: The device that trains.
    """

    def __init__(self, function: Callable[[History], object], device: torch.device):
        self.function = function
        self.device = device

    def after_epoch(self, state: State) -> None:
        with fork(self.device):
            state.record.is_stopped = ask_first(lambda: self.function(state.record.history) is True)
