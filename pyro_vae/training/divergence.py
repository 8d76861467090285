"""Whether a run diverged: its loss ended far above where it was."""

import warnings

from pyro_vae.processes import is_first
from pyro_vae.training.faults import CURE
from pyro_vae.training.loop import Observer
from pyro_vae.training.state import State

FAR = 10  # times the size of the loss and the numbers of a datum, each at most some nats


class Divergence(Observer):
    """Warns at the end of a run that diverged though its weights are still numbers.

    It compares the loss of the last epoch with the lowest one, of the first batch or of an epoch. A
    schedule may raise the loss as well, a weight on the KL that rises for example. So a rise counts
    as far only above ten times the size of the lowest loss and the numbers of a datum together.

    Arguments:
        numbers: How many numbers a datum has.
    """

    def __init__(self, numbers: int):
        self.numbers = numbers
        self.first: float | None = None

    def after_step(self, state: State) -> None:
        if self.first is None:
            state.position.read()
            self.first = state.position.loss_sum / state.position.rows

    def at_end(self, state: State) -> None:
        losses = state.record.history.loss
        if self.first is None or not losses or not is_first():
            return
        lowest, last = min(self.first, *losses), losses[-1]
        if last - lowest > FAR * (abs(lowest) + self.numbers):
            warnings.warn(
                f"the run diverged: the loss of its last epoch is {last:.4g} nats, and was "
                f"{lowest:.4g}. {CURE}",
                stacklevel=2,
            )
