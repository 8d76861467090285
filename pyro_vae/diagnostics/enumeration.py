"""A single latent of few values, summed over instead of drawn: what is measured is then exact."""

import torch
from torch import Tensor, nn

from pyro_vae.weights import blocks
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.traces import quietly, sample_sites, trace
from pyro_vae.weights.weights import Weights, join_weights, weigh


def enumerate_latent(pair: nn.Module, data: tuple) -> tuple[Tensor, Weights] | None:
    """All values of a single discrete latent, `[K, d]`, and the weights at each, `[K, n]`, float64.

    Returns:
        None if there are several latents, or it is not discrete, or has too many values.
    """
    n = data[0].shape[0]
    with quietly(pair):
        sites = sample_sites(trace(pair.guide, tuple(d[:1] for d in data)))
        name, site = next(iter(sites.items()))
        if len(sites) != 1 or not site["fn"].has_enumerate_support:
            return None

        values = site["fn"].enumerate_support(expand=False)
        k = len(values)
        if k * n > blocks.KEPT:
            return None

        weights = _weigh_values(pair, data, name, values)
    return values.reshape(k, -1).double(), weights


def _weigh_values(pair: nn.Module, data: tuple, name: str, values: Tensor) -> Weights:
    k = len(values)
    parts = []
    for _, block in cut(data, count_fitting(k * count_numbers(data[0]))):
        z = values.expand(k, block[0].shape[0], *values.shape[2:])
        parts.append(weigh(pair, block, k, {name: z}).double())

    return join_weights(parts, 1)


def expect(probabilities: Tensor, values: Tensor) -> float:
    """The expectation over z, `[K, n]`, and its mean over data. Nothing times infinity is nothing.

    Example:
        >>> expect(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0], [torch.inf]]))
        2.0
    """
    weighted = torch.where(probabilities > 0, probabilities * values, 0.0)

    return weighted.sum(0).mean().item()
