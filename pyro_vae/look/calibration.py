"""Figures of calibration: rank histograms."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import stats

from pyro_vae.diagnostics import Calibration
from pyro_vae.diagnostics.calibration import JOINT
from pyro_vae.look.style import use_house_style

FINE, FAULT, BAND = "C0", "C2", "0.4"  # colours


@use_house_style()
def ranks(found: Calibration, *, most: int = 16) -> Figure:
    """Draw the rank histograms of simulation-based calibration.

    The grey band holds 99 % of the bars if q is the posterior.

    Arguments:
        found: What `diagnostics.calibrate` returned.
        most: How many histograms at most. Those of the least p-values are drawn.
    """
    counts, shares = found.histogram()
    names = [*found.names, *JOINT]
    faults = [*found.faults(), *found.joint_faults()]
    pvalues = torch.cat([found.pvalue, found.joint_pvalue])
    d = len(pvalues)
    chosen = pvalues.argsort()[:most].sort().values.tolist()
    possible = found.num_draws + 1
    edges = np.append(0, np.cumsum(shares.numpy())) * possible - 0.5
    figure, panels = _panels(len(chosen))

    for ax, j in zip(panels, chosen, strict=False):
        fault = faults[j]
        colour = FAULT if fault else FINE
        n = counts[:, j].sum().item()
        low, high = (stats.binom.ppf(q, n, shares.numpy()) for q in (0.005, 0.995))
        ax.stairs(counts[:, j].numpy(), edges, fill=True, color=colour, alpha=0.6)
        ax.stairs(high, edges, baseline=low, fill=True, color=BAND, alpha=0.35)
        title = f"{names[j]}: {_shorten(fault)}\np = {pvalues[j].item():.2g}"
        ax.set_title(title, fontsize="small", parse_math=False)
        ax.set_xlim(edges[0], edges[-1])
    left_out = f"; {len(chosen)} of {d} histograms, of the least p-values" if d > most else ""
    label = f"rank of z* among {found.num_draws} draws of q(z|x*){left_out}"
    figure.supxlabel(label, fontsize="medium")
    figure.supylabel("simulated data", fontsize="medium")
    _explain(figure)
    return figure


def _panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    columns = min(3, count)
    height = -(-count // columns)
    size = (2.6 * columns + 0.4, 2.1 * height + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True)
    panels = list(axes.flatten())
    for ax in panels[count:]:
        ax.set_axis_off()
    return figure, panels


def _shorten(fault: str) -> str:
    """The names of the faults, without what they mean."""
    if not fault:
        return "no fault found"
    return ", ".join(part.split(":")[0] for part in fault.split("; "))


def _explain(figure: Figure) -> None:
    handles = [
        Patch(color=FINE, alpha=0.6, label="no fault found"),
        Patch(color=FAULT, alpha=0.6, label="at fault"),
        Patch(color=BAND, alpha=0.35, label="99 % of bars, if q is the posterior"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize="small")
