"""Latents that are listed: all their values are weighed at once, and summed over."""

import math
from collections.abc import Callable

import torch
from pyro.poutine import Trace
from torch import Tensor

from pyro_vae.weights.traces import latent_sites

MOST = 10_000  # combinations of values that are summed over


def find_listed(latents: dict[str, dict]) -> dict[str, int]:
    """How many values each listed latent has, by site, in the order in which the guide lists them.

    Arguments:
        latents: The latent sites of a guide by name.

    Raises:
        ValueError: if there are too many combinations to sum over.
    """
    sizes = {name: _count_values(site) for name, site in latents.items() if is_listed(site)}
    if math.prod(sizes.values()) > MOST:
        said = ", ".join(f"{name!r} {size}" for name, size in sizes.items())
        raise ValueError(
            f"the guide lists {math.prod(sizes.values())} combinations of values ({said}), and at "
            f"most {MOST} are summed over: leave infer={{'enumerate': 'parallel'}} away, and train "
            "with pv.VIMCO(num_samples) or pv.ReweightedWakeSleep(num_samples)"
        )
    return sizes


def is_listed(site: dict) -> bool:
    """Whether a site took all its values in this run."""
    return "_enumerate_dim" in site["infer"]


def is_marked(site: dict) -> bool:
    """Whether the guide marks a site to be listed."""
    return site["infer"].get("enumerate") == "parallel"


def drawn_sites(run: Trace) -> dict[str, dict]:
    """The latents of a guide that are drawn, by name, without those that it marks to be listed."""
    return {name: site for name, site in latent_sites(run).items() if not is_marked(site)}


def _count_values(site: dict) -> int:
    dim = site["infer"]["_enumerate_dim"]
    return site["value"].shape[dim - site["fn"].event_dim]


def find_listed_shape(sizes: dict[str, int]) -> tuple[int, ...]:
    """The dimensions of the listed latents, left of draws and data. The first lies rightmost."""
    return tuple(reversed(sizes.values()))


def score_listed(site: dict, size: int, score: Callable[[dict], Tensor]) -> Tensor:
    """The log-probability of a listed site.

    Where a mask hides the site, because the label of a datum is known for example, it is uniform
    over its values. So it is under p and q alike, and cancels.
    """
    log_p = score(site)
    mask = site["mask"]
    if mask is None:
        return log_p

    mask = torch.as_tensor(mask, device=log_p.device)
    return torch.where(mask, log_p, -math.log(size))


def sum_listed(values: Tensor) -> Tensor:
    """The sum over all dimensions but draws and data."""
    return values.flatten(0, -3).sum(0)


def add_listed(log_values: Tensor) -> Tensor:
    """The logarithm of the sum of exponentials over all dimensions but draws and data."""
    return log_values.flatten(0, -3).logsumexp(0)
