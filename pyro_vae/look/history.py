"""Figures of training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_vae.arguments import check_type
from pyro_vae.look.style import COLOURS, use_house_style
from pyro_vae.training.history import History


@use_house_style()
def history(run: History) -> Figure:
    """Draw the loss and the ELBO over epochs, and the two terms of the ELBO, in nats per datum.

    Arguments:
        run: What `fit` returned.
    """
    check_type("run", run, History, "the History that fit returned")
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    epochs = range(1, len(run.loss) + 1)
    trained = [-loss for loss in run.loss]

    left.plot(epochs, trained, "--", color=COLOURS["data"], label="-loss, training")
    left.plot(epochs, run.elbo, color=COLOURS["variational"], label="ELBO, held out")
    left.set_title("ELBO")
    left.legend()
    middle.plot(epochs, run.reconstruction, color=COLOURS["likelihood"])
    middle.set_title("reconstruction, E_q log p(x|z)")
    right.plot(epochs, run.kl, color=COLOURS["prior"])
    right.set_title("KL(q(z|x) ‖ p(z))")

    _leave_out_the_start(left, [*run.elbo, *trained])
    _leave_out_the_start(middle, run.reconstruction)
    for ax in (left, middle, right):
        ax.set_xlabel("epoch")
        ax.set_ylabel("nats per datum")
    return figure


def _leave_out_the_start(ax: Axes, values: Sequence[float]) -> None:
    """Show the upper 95 %. The first epochs are so low that they would flatten all that follows."""
    low, high = np.percentile(values, 5), max(values)
    span = high - low
    if span > 0:
        ax.set_ylim(low - 0.3 * span, high + 0.1 * span)
