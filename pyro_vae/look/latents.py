"""Figures of latents: where q(z | x) puts the data."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae.arguments import as_tensor
from pyro_vae.look.style import use_house_style

COLOURS = 10  # of matplotlib's cycle
LEGEND = 30  # labels that a legend has room for
TITLE = "draws of q(z|x), one for each datum"


@use_house_style()
def latents(z: Tensor, labels: Tensor | None = None, *, title: str = TITLE) -> Figure:
    """Draw the aggregate q(z), coloured by label: one draw of q(z | x) for each datum.

    One dimension gives a histogram. Of more than two, the first two principal components are shown.

    Arguments:
        z: `[n, *event]`, `reconstruct(pair, x)["z"]`.
        labels: `[n]`.
        title: The title.

    Raises:
        ValueError: if z is empty, or there is not one label for each.
    """
    z = as_tensor("z", z).detach().cpu()
    if not z[:1].numel():
        raise ValueError(f"z: expected latents [n, *event], got shape {tuple(z.shape)}")
    labels = None if labels is None else as_tensor("labels", labels)
    if labels is not None and labels.shape != z.shape[:1]:
        raise ValueError(
            f"labels: expected one for each of the {len(z)} data, got {tuple(labels.shape)}"
        )
    z = z.flatten(1).double()
    z, names = _project(z)
    groups = _group(z, labels)
    has_legend = 1 < len(groups) <= LEGEND
    figure = Figure(figsize=(6, 5.2), layout="constrained")
    ax = figure.subplots()

    for i, (label, members) in enumerate(groups.items()):
        colour = f"C{i}" if len(groups) <= COLOURS else None
        _draw(ax, members, colour, label)
    ax.set_title(title)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    if z.shape[1] > 1:
        ax.set_aspect("equal", adjustable="datalim")
    if has_legend:
        ax.legend(fontsize="small", markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _project(z: Tensor) -> tuple[Tensor, list[str]]:
    """At most two dimensions of z, and the names of the two axes of the figure."""
    if z.shape[1] == 1:
        return z, ["z[0]", "data"]
    if z.shape[1] == 2:
        return z, ["z[0]", "z[1]"]

    centred = z - z.mean(0)
    _, s, v = torch.linalg.svd(centred, full_matrices=False)
    shares = (100 * s**2 / (s**2).sum())[:2].tolist()
    names = [
        f"principal component {i} ({share:.0f} % of variance)"
        for i, share in enumerate(shares, start=1)
    ]
    return centred @ v[:2].T, names


def _group(z: Tensor, labels: Tensor | None) -> dict[str | None, Tensor]:
    """The rows of z by label."""
    if labels is None:
        return {None: z}
    labels = labels.cpu()
    return {f"{label:g}": z[labels == label] for label in labels.unique().tolist()}


def _draw(ax: Axes, z: Tensor, colour: str | None, label: str | None) -> None:
    if z.shape[1] == 1:
        ax.hist(z[:, 0].numpy(), bins=40, histtype="step", color=colour, label=label)
    else:
        ax.scatter(z[:, 0], z[:, 1], s=10, alpha=0.7, color=colour, label=label, linewidths=0)
