"""Signals that ask a process to end, as a flag, so that a step is never left half done."""

import signal
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from pyro_vae.processes import add_up, count_processes
from pyro_vae.training.loop import Observer
from pyro_vae.training.state import State

# Ctrl-C, what a cluster sends, and what a terminal sends that closes; not every system has all
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = [signal.Signals[name] for name in NAMES if name in signal.Signals.__members__]
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
EVERY = 10  # steps after which several processes tell each other what they were asked
LEFT_ALONE = (signal.SIG_IGN, None)  # ignored, as under nohup, or handled outside Python

Handler = Callable | int | None


class Stopped(KeyboardInterrupt):
    """A run was stopped by a signal, after a whole step.

    Attributes:
        number: The signal.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number


class Keeper(Protocol):
    """Someone who keeps what was done when a run is interrupted."""

    def on_interruption(self, state: State) -> str:
        """Keep the state, and say how to go on."""


class Interrupts(Observer):
    """Waits for SIGINT (Ctrl-C), SIGTERM and SIGHUP, and stops the run after the step or epoch.

    A second Ctrl-C stops at once. A signal that is ignored stays ignored. A signal for which the
    user has a handler does not stop the run: the state is kept, and then the handler is called.

    Outside the main thread, where no signals arrive, it does nothing. Of several processes, all
    stop after the same step when one is asked.

    Arguments:
        keeper: Told of an interruption before the run stops.

    Raises:
        Stopped: after the step or epoch in which a signal came, with how to go on. It is a
            KeyboardInterrupt.
    """

    def __init__(self, keeper: Keeper):
        self.keeper = keeper
        self.asked: list[int] = []
        self.previous: dict[int, Handler] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self.previous = {n: h for n, h in handlers.items() if h not in LEFT_ALONE}
            self._listen()
        return self

    def __exit__(self, *error: object) -> None:
        self._restore(self.previous)

    def after_step(self, state: State) -> None:
        is_alone = count_processes() == 1
        if self.asked if is_alone else state.position.batches % EVERY == 0:
            self._answer(state)

    def after_epoch(self, state: State) -> None:
        self._answer(state)

    def at_end(self, state: State) -> None:
        self._answer(state)

    def _note(self, number: int, frame: object) -> None:
        self.asked.append(number)
        # a person may be impatient; a terminal that closes may say so twice
        self._restore({signal.SIGINT} & self.previous.keys())

    def _listen(self) -> None:
        for number in self.previous:
            signal.signal(number, self._note)

    def _restore(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            # a callback of the user may have put its own handler there
            if signal.getsignal(number) == self._note:
                signal.signal(number, self.previous[number])

    def _answer(self, state: State) -> None:
        stops = any(self._find_handler(number) is None for number in self.asked)
        asked_anywhere, stopped_anywhere = add_up(len(self.asked), stops)
        if not asked_anywhere:
            return

        place = state.describe_place()
        advice = self.keeper.on_interruption(state)
        asked, self.asked = self.asked, []
        for number in asked:
            handler = self._find_handler(number)
            if handler is None:
                by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
                raise Stopped(f"stopped{by} in {place}; {advice}", number)
            handler(number, None)
        if stopped_anywhere:
            raise Stopped(f"stopped by another process in {place}; {advice}", signal.SIGTERM)
        self._listen()

    def _find_handler(self, number: int) -> Callable | None:
        """The user's handler of a signal. Without one the signal stops the run."""
        handler = self.previous[number]
        return handler if callable(handler) and handler not in DEFAULTS else None
