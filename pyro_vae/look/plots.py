"""What training and diagnostics return, as matplotlib figures; nothing is shown or saved here."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import stats
from torch import Tensor

from pyro_vae.diagnostics import Annealed, GridPosterior
from pyro_vae.diagnostics.calibration import Calibration
from pyro_vae.training.fit import History


def history(run: History) -> Figure:
    """The loss and the ELBO over epochs, and the two terms of the ELBO, in nats per datum.

    Arguments:
        run: What `fit` returned.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    epochs = range(1, len(run.loss) + 1)
    left.plot(epochs, [-value for value in run.loss], label="-loss, training")
    left.plot(epochs, run.elbo, label="ELBO, held out")
    left.set_title("ELBO")
    left.legend()
    middle.plot(epochs, run.reconstruction, color="C2")
    middle.set_title("reconstruction, E_q log p(x|z)")
    right.plot(epochs, run.kl, color="C3")
    right.set_title("KL(q(z|x) ‖ p(z))")
    # the first epochs are so much worse that they would flatten all that follows
    for ax, values in ((left, [*run.elbo, *(-v for v in run.loss)]), (middle, run.reconstruction)):
        low, high = np.percentile(values, 5), max(values)
        if high > low:
            ax.set_ylim(low - 0.3 * (high - low), high + 0.1 * (high - low))
    for ax in (left, middle, right):
        ax.set_xlabel("epoch")
        ax.set_ylabel("nats per datum")
    return figure


def data(x: Tensor, *, title: str = "", columns: int = 10) -> Figure:
    """Data side by side: images as images, anything else as one line each.

    Arguments:
        x: `[n, *event]`; images are `[n, channels, height, width]`, of one or three channels.
        title: The title.
        columns: How many in a row.
    """
    return _rows([x[i : i + columns] for i in range(0, len(x), columns)], [], title)


def reconstructions(x: Tensor, reconstructed: Tensor) -> Figure:
    """Data above their reconstructions.

    Arguments:
        x, reconstructed: `[n, *event]`, `reconstruct(pair, x)["x"]` for the latter.
    """
    return _rows(
        [x, reconstructed], ["x", "E p(x|z)"], "data, and the mean of p(x|z) at a draw z of q(z|x)"
    )


def latents(z: Tensor, labels: Tensor | None = None) -> Figure:
    """Draws of q(z | x), one for each datum: the aggregate q(z), coloured by label.

    Arguments:
        z: `[n, *event]`, `reconstruct(pair, x)["z"]`; of more than two dimensions the first two
            principal components are shown, of one a histogram.
        labels: `[n]`.
    """
    z = z.detach().cpu().flatten(1).double()
    figure = Figure(figsize=(6, 5.2), layout="constrained")
    ax = figure.subplots()
    names = ("z[0]", "z[1]")
    if z.shape[1] > 2:
        centred = z - z.mean(0)
        _, s, v = torch.linalg.svd(centred, full_matrices=False)
        share = (s**2 / (s**2).sum())[:2]
        z = centred @ v[:2].T
        names = tuple(
            f"principal component {i + 1} ({100 * share[i]:.0f} % of variance)" for i in range(2)
        )
    kinds = [None] if labels is None else labels.unique().tolist()
    for i, kind in enumerate(kinds):
        part = z if kind is None else z[labels.cpu() == kind]
        colour = f"C{i}" if len(kinds) <= 10 else None
        label = None if kind is None else f"{kind:g}"
        if z.shape[1] == 1:
            ax.hist(part[:, 0].numpy(), bins=40, histtype="step", color=colour, label=label)
        else:
            ax.scatter(
                part[:, 0], part[:, 1], s=10, alpha=0.7, color=colour, label=label, linewidths=0
            )
    ax.set_title("draws of q(z|x), one for each datum")
    ax.set_xlabel(names[0])
    ax.set_ylabel("data" if z.shape[1] == 1 else names[1])
    if z.shape[1] > 1:
        ax.set_aspect("equal", adjustable="datalim")
    if len(kinds) > 1 and len(kinds) <= 30:
        ax.legend(fontsize="small", markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def decoded_grid(x: Tensor, bounds: tuple[float, float]) -> Figure:
    """The mean of p(x | z) over a square of a two-dimensional z.

    Arguments:
        x: Images `[size * size, channels, height, width]`, the first coordinate of z slowest.
        bounds: The least and largest value of each coordinate.
    """
    size = int(len(x) ** 0.5)
    image = _images(x).reshape(size, size, *x.shape[2:], -1)
    canvas = np.flip(image.transpose(1, 0, 2, 3, 4), 0).transpose(0, 2, 1, 3, 4)
    canvas = canvas.reshape(size * x.shape[2], size * x.shape[3], -1)
    figure = Figure(figsize=(6, 6), layout="constrained")
    ax = figure.subplots()
    ax.imshow(canvas.squeeze(), cmap="gray_r", extent=(*bounds, *bounds), vmin=0, vmax=1)
    ax.set_title("mean of p(x|z) over z")
    ax.set_xlabel("z[0]")
    ax.set_ylabel("z[1]")
    return figure


def posterior(
    grid: GridPosterior, x: Tensor | None = None, *, rows: Sequence[int] = range(6)
) -> Figure:
    """The true posterior p(z | x) of single data on a grid, with q(z | x) drawn over it.

    Arguments:
        grid: What `diagnostics.grid_posterior` returned.
        x: The same data; images are shown in the corner.
        rows: Which data.
    """
    rows = [row for row in rows if row < grid.log_posterior.shape[1]]
    columns = min(3, len(rows))
    height = -(-len(rows) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * height + 0.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(height, columns)).flatten()
    shape = [len(axis) for axis in grid.axes]
    for ax in axes[len(rows) :]:
        ax.set_axis_off()
    for ax, row in zip(axes, rows, strict=False):
        p = grid.log_posterior[:, row].exp().reshape(shape).cpu().numpy()
        q = grid.log_variational[:, row].exp().reshape(shape).cpu().numpy()
        ax.set_title(f"KL(q(z|x) ‖ p(z|x)) = {grid.gap[row].item():.2f} nats", fontsize="medium")
        if len(shape) == 1:
            axis = grid.axes[0].cpu().numpy()
            seen = np.flatnonzero((p > 1e-3 * p.max()) | (q > 1e-3 * q.max()))
            ax.fill_between(axis, p, color="C0", alpha=0.4)
            ax.plot(axis, q, color="C3")
            ax.set_xlim(axis[seen[0]], axis[seen[-1]])
            ax.set_xlabel("z")
            continue
        first, second = (axis.cpu().numpy() for axis in grid.axes)
        ax.contourf(first, second, p.T, levels=_levels(p), cmap="Blues", extend="max")
        ax.contour(first, second, q.T, levels=_levels(q)[:-1], colors="C3", linewidths=1)
        seen = (p > _levels(p)[0] / 2) | (q > _levels(q)[0] / 2)
        for values, across, limit in ((first, 1, ax.set_xlim), (second, 0, ax.set_ylim)):
            inside = values[seen.any(across)]
            margin = 0.25 * (inside[-1] - inside[0]) + (values[1] - values[0])
            limit(inside[0] - margin, inside[-1] + margin)
        ax.set_xlabel("z[0]")
        ax.set_ylabel("z[1]")
        if x is not None and x.dim() == 4:
            inset = ax.inset_axes((0.76, 0.74, 0.23, 0.25))
            inset.imshow(_images(x[row : row + 1])[0].squeeze(), cmap="gray_r", vmin=0, vmax=1)
            inset.set_xticks([])
            inset.set_yticks([])
    figure.legend(
        handles=[
            Patch(color="C0", alpha=0.6, label="true posterior p(z|x)"),
            Line2D([], [], color="C3", label="variational q(z|x)"),
        ],
        loc="outside upper center",
        ncols=2,
    )
    return figure


def posterior_draws(
    found: Annealed, q: Tensor, *, site: str = "z", rows: Sequence[int] = range(6)
) -> Figure:
    """The true posterior p(z | x) of single data by annealed draws, and draws of q(z | x), projected.

    Each datum is shown in the two directions in which the draws of p stray furthest from the middle
    of q, in units of q's own standard deviation: were they equal, both would be round clouds of the
    same width.

    Arguments:
        found: What `diagnostics.annealed_log_evidence` returned.
        q: Draws of q(z | x) for the same data, `[m, n, *event]`.
        site: The latent.
        rows: Which data.
    """
    p, weights = found.z[site].cpu().double().flatten(2), found.log_weights.softmax(0).cpu()
    q = q.cpu().double().flatten(2)
    rows = [row for row in rows if row < min(p.shape[1], q.shape[1])]
    columns = min(3, len(rows))
    height = -(-len(rows) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * height + 0.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(height, columns)).flatten()
    for ax in axes[len(rows) :]:
        ax.set_axis_off()
    for ax, row in zip(axes, rows, strict=False):
        centre, scale = q[:, row].mean(0), q[:, row].std(0).clamp(min=1e-12)
        of_p, of_q = ((draws - centre) / scale for draws in (p[:, row], q[:, row]))
        _, _, v = torch.linalg.svd(weights[:, row, None].sqrt() * of_p, full_matrices=False)
        of_p, of_q = of_p @ v[:2].T, of_q @ v[:2].T
        ax.scatter(of_q[:, 0], of_q[:, 1], s=8, color="C3", alpha=0.35, linewidths=0)
        size = 10 + 200 * weights[:, row]
        ax.scatter(
            of_p[:, 0],
            of_p[:, 1],
            s=size,
            color="C0",
            alpha=0.8,
            edgecolors="white",
            linewidths=0.5,
        )
        ax.set_xlabel("standard deviations of q")
        ax.set_ylabel("standard deviations of q")
        ax.set_aspect("equal", adjustable="datalim")
    labels = {
        "C0": "annealed draws of the true posterior p(z|x), area by weight",
        "C3": "draws of q(z|x)",
    }
    handles = [
        Line2D([], [], color=c, marker="o", linestyle="", label=label)
        for c, label in labels.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _levels(density: np.ndarray) -> list[float]:
    """Heights whose regions hold 95, 80, 50 and 20 % of the mass."""
    heights = np.sort(density.flatten())[::-1]
    mass = np.cumsum(heights) / heights.sum()
    levels = [
        heights[min(np.searchsorted(mass, share), len(heights) - 1)]
        for share in (0.95, 0.8, 0.5, 0.2)
    ]
    return list(np.maximum.accumulate(np.array(levels) + np.arange(4) * 1e-12 * heights[0])) + [
        heights[0] * (1 + 1e-9)
    ]


def _images(x: Tensor) -> np.ndarray:
    """`[n, height, width, channels]` in [0, 1]."""
    return x.detach().float().cpu().clamp(0, 1).permute(0, 2, 3, 1).numpy()


def _rows(rows: Sequence[Tensor], names: Sequence[str], title: str) -> Figure:
    columns = max(map(len, rows))
    figure = Figure(figsize=(max(4.0, 0.9 * columns), 0.95 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    figure.suptitle(title, fontsize="medium")
    for i, (line, row) in enumerate(zip(axes, rows, strict=True)):
        image = row.dim() == 4 and row.shape[1] in (1, 3)
        for ax in line:
            ax.set_xticks([])
            ax.set_yticks([])
            ax.axis("on" if image else "off")
        for ax, x in zip(line, row, strict=False):
            if image:
                ax.imshow(
                    _images(x[None])[0].squeeze(-1) if x.shape[0] == 1 else _images(x[None])[0],
                    **_GREY,
                )
            else:
                ax.plot(x.detach().float().cpu().flatten().numpy(), linewidth=1)
        if i < len(names):
            line[0].set_ylabel(names[i])
        for ax in line[len(row) :]:
            ax.axis("off")
    return figure


_GREY = {"cmap": "gray_r", "vmin": 0, "vmax": 1}


def ranks(found: Calibration) -> Figure:
    """Rank histograms of simulation-based calibration, with the band that 99 % of the bars lie in if q is right.

    Arguments:
        found: What `diagnostics.calibrate` returned.
    """
    counts, share = found.histogram()
    n, d = found.ranks.shape
    columns = min(4, d)
    height = -(-d // columns)
    figure = Figure(figsize=(3.2 * columns + 0.6, 2.4 * height + 0.9), layout="constrained")
    axes = figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True).flatten()
    edges = np.append(0, np.cumsum(share.numpy())) * (found.num_draws + 1) - 0.5
    low, high = (stats.binom.ppf(q, n, share.numpy()) for q in (0.005, 0.995))
    faults = found.faults()
    for ax in axes[d:]:
        ax.set_axis_off()
    for j, ax in enumerate(axes[:d]):
        ax.stairs(
            counts[:, j].numpy(), edges, fill=True, color="C3" if faults[j] else "C0", alpha=0.6
        )
        ax.stairs(high, edges, baseline=low, fill=True, color="0.4", alpha=0.35)
        said = ", ".join(fault.split(":")[0] for fault in faults[j].split("; ")) or "no fault found"
        ax.set_title(
            f"{found.names[j]}: {said}, p = {found.pvalue[j].item():.2g}", fontsize="small"
        )
        ax.set_xlim(edges[0], edges[-1])
    figure.supxlabel(f"rank of z* among {found.num_draws} draws of q(z|x*)", fontsize="medium")
    figure.supylabel("simulated data", fontsize="medium")
    figure.legend(
        handles=[
            Patch(color="C0", alpha=0.6, label="no fault found"),
            Patch(color="C3", alpha=0.6, label="at fault"),
            Patch(color="0.4", alpha=0.35, label="99 % of bars, if q is the posterior"),
        ],
        loc="outside upper center",
        ncols=3,
        fontsize="small",
    )
    return figure
