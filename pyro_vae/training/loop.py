"""The loop of training: start an epoch, step, measure, until done. What looks on are observers."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack

from torch import Tensor, nn

from pyro_vae.processes import share_buffers
from pyro_vae.training.batches import Batches
from pyro_vae.training.checkpoints import copy_into
from pyro_vae.training.faults import Watch
from pyro_vae.training.held_out import HeldOut
from pyro_vae.training.state import State
from pyro_vae.training.steps import Taken


class Loop:
    """What happens to the state of a run. It is told nothing of who looks on.

    Arguments:
        objective: The objective.
        batches: What an epoch consists of.
        take_step: Takes a step on a batch.
        held_out: The data that are measured after each epoch.
        watch: Stops a run that is not finite.
        epochs: How many epochs there are in all.
        patience: How many epochs may pass without a better ELBO, or None for any number.
    """

    def __init__(
        self,
        objective: nn.Module,
        batches: Batches,
        take_step: Callable[[tuple[Tensor, ...]], Taken],
        held_out: HeldOut,
        watch: Watch,
        epochs: int,
        patience: int | None,
    ):
        self.objective = objective
        self.batches = batches
        self.take_step = take_step
        self.held_out = held_out
        self.watch = watch
        self.epochs = epochs
        self.patience = patience

    def start(self, state: State) -> Iterator[tuple[Tensor, ...]]:
        """Start an epoch, or go on within one. It returns the batches that are still to come."""
        self.objective.train()
        self.began = time.monotonic() - state.position.seconds

        if state.position.batches == 0:
            state.epoch_start.mark()
            return iter(self.batches)
        with state.epoch_start.recalled():
            batches = iter(self.batches)
            for _ in range(state.position.batches):
                next(batches)
        return batches

    def step(self, state: State, batch: tuple[Tensor, ...]) -> None:
        """Take one step."""
        position = state.position

        loss, rows = self.take_step(batch)
        state.bound.note_step(is_first=position.batches == 0)
        position.add(loss, rows)
        position.seconds = time.monotonic() - self.began
        self.watch.check_losses()

    def measure(self, state: State) -> None:
        """End an epoch: measure the ELBO, write it down, and keep the weights if they are best."""
        position, epoch = state.position, state.record.epochs
        position.read()
        self.watch.check_losses()
        if not position.rows:
            raise ValueError("data: the loader gave no batch")

        share_buffers(self.objective)
        measurement = self.held_out.measure()
        state.record.add(
            loss=position.loss_sum / position.rows,
            seconds=time.monotonic() - self.began,
            bound=int(state.bound.is_held()),
            **measurement._asdict(),
        )
        elbo = measurement.elbo
        if self.patience is not None and state.best.is_beaten_by(elbo):
            state.best.replace(epoch, elbo, state.weights.copy())

        position.reset()
        state.epoch_start.mark()
        state.schedule.advance(elbo)

    def done(self, state: State) -> bool:
        """Whether all epochs are done, an observer stopped the run, or patience is exhausted."""
        epochs = state.record.epochs
        if epochs >= self.epochs or state.record.is_stopped:
            return True
        return self.patience is not None and state.best.count_since(epochs) >= self.patience

    def finish(self, state: State) -> None:
        """Put the best weights back, if they were kept."""
        if self.patience is not None and state.best.weights:
            copy_into(state.weights.list_all(), state.best.weights, "the best weights")


class Observer(AbstractContextManager):
    """Looks on at a run. It is a context around the epochs and their end."""

    def __exit__(self, *error: object) -> None:
        return None

    def after_step(self, state: State) -> None:
        """A step was taken."""

    def after_epoch(self, state: State) -> None:
        """An epoch was measured."""

    def at_end(self, state: State) -> None:
        """All epochs are done, or the run was stopped. The last weights are still in place."""


def run(loop: Loop, state: State, observers: Sequence[Observer]) -> None:
    """Run a loop to its end, and tell the observers in their order."""
    with ExitStack() as stack:
        for observer in observers:
            stack.enter_context(observer)
        _iterate(loop, state, observers)
        for observer in observers:
            observer.at_end(state)
    loop.finish(state)


def _iterate(loop: Loop, state: State, observers: Sequence[Observer]) -> None:
    while not loop.done(state):
        for batch in loop.start(state):
            loop.step(state, batch)
            for observer in observers:
                observer.after_step(state)
        loop.measure(state)
        _end_epoch(state, observers)


def _end_epoch(state: State, observers: Sequence[Observer]) -> None:
    """Tell all observers in their order, also where one fails."""
    with ExitStack() as stack:
        for observer in reversed(observers):
            stack.callback(observer.after_epoch, state)
