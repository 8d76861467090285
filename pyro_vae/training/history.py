"""What happened in a run, epoch by epoch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pyro_vae.training.kept import Kept, match


class History(NamedTuple):
    """What happened, one number for each epoch. All are in nats per datum, except the seconds.

    Attributes:
        loss: The mean training loss, as the objective defines it.
        elbo: The plain ELBO (beta = 1) of the validation data, with one draw per datum. Without
            validation data it is that of the first 1,000 training data.
        reconstruction: Its first term, E_q log p(x | z).
        kl: Its second term, KL(q(z | x) ‖ p(z)): elbo = reconstruction - kl.
        seconds: The time that the epoch took, with the measurement.
        bound: 1 where minus the loss was a lower bound on log p(x) throughout the epoch, 0 where
            it was not.
    """

    loss: list[float]
    elbo: list[float]
    reconstruction: list[float]
    kl: list[float]
    seconds: list[float]
    bound: Sequence[float] = ()

    def __repr__(self) -> str:
        if not self.loss:
            return "History(no epoch)"

        is_bound = all(self.bound[-1:])
        note = "" if is_bound else " (no bound)"
        epochs, loss, elbo = len(self.loss), self.loss[-1], self.elbo[-1]
        return f"History({epochs} epochs, loss {loss:.3f}{note}, elbo {elbo:.3f})"


class Record(Kept):
    """The history of a run that goes on, and whether somebody stopped it."""

    def __init__(self) -> None:
        self.history = History([], [], [], [], [], [])
        self.is_stopped = False

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return len(self.history.loss)

    def add(self, **numbers: float) -> None:
        """Write down one epoch, a number for each field of `History`."""
        for name, column in self.history._asdict().items():
            column.append(numbers[name])

    def pack(self) -> dict[str, Any]:
        return self.history._asdict() | {"is_stopped": self.is_stopped}

    def unpack(self, saved: dict[str, Any], source: str) -> None:
        columns = [saved[name] for name in History._fields]
        # as many numbers in each as there are in the first
        matched = match(columns, [(0.0,) * len(columns[0])] * len(columns))
        self.history = History(*map(list, matched))
        self.is_stopped = match(saved["is_stopped"], False)
