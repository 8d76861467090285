"""Ctrl-C as a flag, so that a step is never left half done."""

import signal
import threading
from typing import Protocol

from pyro_vae.training.loop import Observer
from pyro_vae.training.state import State


class Keeper(Protocol):
    """Someone who keeps what was done when a run is interrupted."""

    def on_interruption(self, state: State) -> str:
        """Keep the state, and say how to go on."""


class Interrupts(Observer):
    """Waits for Ctrl-C, and stops the run after the step or epoch. A second Ctrl-C stops at once.

    Outside the main thread, where no signals arrive, it does nothing.

    Arguments:
        keeper: Told of an interruption before the run stops.

    Raises:
        KeyboardInterrupt: after the step or epoch in which Ctrl-C came, with how to go on.
    """

    def __init__(self, keeper: Keeper):
        self.keeper = keeper
        self.is_asked = False
        self.is_listening = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "Interrupts":
        if self.is_listening:
            self.previous = signal.getsignal(signal.SIGINT)
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def after_step(self, state: State) -> None:
        self._stop_if_asked(state)

    def after_epoch(self, state: State) -> bool:
        self._stop_if_asked(state)
        return False

    def _note(self, number: int, frame: object) -> None:
        self.is_asked = True
        self._restore()

    def _restore(self) -> None:
        if self.is_listening:
            signal.signal(signal.SIGINT, self.previous)

    def _stop_if_asked(self, state: State) -> None:
        if self.is_asked:
            place = state.describe_place()
            advice = self.keeper.on_interruption(state)
            raise KeyboardInterrupt(f"stopped in {place}; {advice}")
