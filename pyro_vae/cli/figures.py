"""The figures of a run."""

import torch
from matplotlib.figure import Figure
from torch import Tensor

import pyro_vae as pv
from pyro_vae.data import Dataset
from pyro_vae.diagnostics import Picture
from pyro_vae.look import plots
from pyro_vae.supports import is_real

CAPTIONS = {
    "history": "Training: the ELBO and its two terms.",
    "reconstructions": "Test data, and what the decoder expects at a draw of q(z|x).",
    "samples": "What the decoder expects at draws of the prior.",
    "latents": "Where q(z|x) puts the test data.",
    "posterior": "The true posterior p(z|x) of single test data, and q(z|x).",
    "decoded_grid": "What the decoder expects over z.",
    "calibration": (
        "Ranks of the true z among draws of q(z|x), on simulated data; flat if q is the posterior."
    ),
}
SHOWN = 2000  # test data in the figure of latents, at most


def draw_figures(
    pair: pv.VAE, dataset: Dataset, history: pv.History, picture: Picture | None = None
) -> dict[str, Figure]:
    """Draw the figures of a run, by name. Those that do not apply to the pair are left out.

    Arguments:
        pair: The trained pair.
        dataset: Its data, of which the test split is shown.
        history: The history of training.
        picture: What was measured, if anything was.
    """
    device = next(pair.parameters()).device
    x = dataset.test[:SHOWN].to(device)
    labels = None if dataset.labels is None else dataset.labels[2][:SHOWN]

    # the same draws in every call, and none taken from the caller
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reconstructed = pv.reconstruct(pair, x)
        simulated = pv.simulate(pair, 60, mean=True)["x"]
        z = reconstructed["z"]
        samples = "means of p(x|z), z drawn from p(z)"
        figures = {
            "history": plots.history(history),
            "reconstructions": plots.reconstructions(x[:12], reconstructed["x"][:12]),
            "samples": plots.data(simulated, title=samples, columns=12),
            "latents": plots.latents(z, labels),
        }
        figures |= _draw_posterior(pair, x[:6], z, picture)
        figures |= _draw_decoded_grid(pair, x, z)

    if picture is not None and picture.calibration is not None:
        figures["calibration"] = plots.ranks(picture.calibration)
    return figures


def _draw_posterior(
    pair: pv.VAE, x: Tensor, z: Tensor, picture: Picture | None
) -> dict[str, Figure]:
    """On a grid where z has one or two real dimensions, otherwise by the annealed draws."""
    if is_real(pair.variational.support) and z[0].numel() <= 2:
        grid = pv.diagnostics.grid_posterior(pair, x, bounds=_reach(z))
        return {"posterior": plots.posterior(grid, x)}
    if picture is None or picture.annealed is None:
        return {}

    q = torch.stack([pv.reconstruct(pair, x)["z"] for _ in range(300)])
    return {"posterior": plots.posterior_draws(picture.annealed, q)}


def _reach(z: Tensor) -> tuple[float, float]:
    """Where nearly all draws lie, with a margin. Heavy tails would take all of the grid."""
    low, high = z.quantile(0.005).item(), z.quantile(0.995).item()
    return 1.25 * low - 0.25 * high, 1.25 * high - 0.25 * low


def _draw_decoded_grid(pair: pv.VAE, x: Tensor, z: Tensor) -> dict[str, Figure]:
    """Where z has two real dimensions and x is an image."""
    is_plane = is_real(pair.variational.support) and z[0].numel() == 2
    if not is_plane or x.dim() != 4:
        return {}

    bounds = (z.min().item(), z.max().item())
    axis = torch.linspace(*bounds, 17, device=z.device)
    points = torch.cartesian_prod(axis, axis).reshape(-1, *z.shape[1:])
    template = x[:1].expand(len(points), *x.shape[1:])
    decoded = pv.reconstruct(pair, template, at={"z": points})["x"]
    return {"decoded_grid": plots.decoded_grid(decoded, bounds)}
