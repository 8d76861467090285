"""Whether several draws of z, run together under a plate, are scored as they are one by one."""

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_vae.weights.traces import latent_values, log_prob, quietly, sample_sites, trace

DRAWS = 3
TOLERANCE = 1e-3


def compare_draws(pair: nn.Module, data: tuple) -> list[str]:
    """What goes wrong when several draws are run together, each with its cure.

    It finds a network that normalises over the wrong axis, or mixes draws. Random states are left
    alone.

    Arguments:
        pair: The pair.
        data: A few rows of what its model and guide are called with, x first.
    """
    devices = [data[0].device] if data[0].is_cuda else []
    with torch.random.fork_rng(devices=devices), quietly(pair):
        try:
            z, together = _run_together(pair, data)
        except Exception as error:
            return [
                f"under a plate of {DRAWS} draws the pair fails, {_describe_error(error)}. "
                "Networks get z as [k, n, ...] there: fold the leading dimensions, as "
                "pyro_vae.networks.Network does"
            ]
        return _compare(pair, data, z, together)


def _describe_error(error: Exception) -> str:
    """The kind of an error and what it says, without the shapes of all sites that Pyro adds."""
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"


def _run_together(pair: nn.Module, data: tuple) -> tuple[dict[str, Tensor], dict[str, Trace]]:
    z = latent_values(trace(pair.guide, data, draws=DRAWS))
    return z, {side: _run(pair, side, data, z, DRAWS) for side in ("guide", "model")}


def _run(pair: nn.Module, side: str, data: tuple, z: dict[str, Tensor], draws: int | None) -> Trace:
    # what is random beside the latents is the same in every run
    torch.manual_seed(0)
    fn = pair.guide if side == "guide" else pair.model
    return trace(fn, data, draws=draws, latents=z)


def _compare(
    pair: nn.Module, data: tuple, z: dict[str, Tensor], together: dict[str, Trace]
) -> list[str]:
    shape = (DRAWS, data[0].shape[0])
    wrong: dict[str, None] = {}
    for j in range(DRAWS):
        one = {name: _take_draw(value, j) for name, value in z.items()}
        for side, run in together.items():
            alone = sample_sites(_run(pair, side, data, one, None))
            for name, site in sample_sites(run).items():
                if not _is_equal(log_prob(site), log_prob(alone[name]), shape, j):
                    wrong[_describe(name, side)] = None
    return list(wrong)


def _take_draw(value: Tensor, j: int) -> Tensor:
    return value[j] if value.shape[0] == DRAWS else value[0]


def _is_equal(many: Tensor, one: Tensor, shape: tuple[int, int], j: int) -> bool:
    try:
        many = many.expand(shape)[j]
        one = one.expand(shape[1:])
    except RuntimeError:
        return False
    return torch.allclose(many, one, rtol=TOLERANCE, atol=TOLERANCE)


def _describe(name: str, side: str) -> str:
    return (
        f"site {name!r} of the {side} is scored otherwise when several draws are scored together: "
        "something in it normalises or mixes over a leading dimension; name dimensions from the "
        "right (dim=-1), and keep batch normalisation out"
    )
