"""Draws of q(z | x) with weights, and draws of p(z | x) that are chosen among them."""

import torch
from torch import Tensor, nn

from pyro_vae.weights.traces import latent_values, trace
from pyro_vae.weights.weights import weigh


def draw_weighted(pair: nn.Module, data: tuple, draws: int) -> tuple[dict[str, Tensor], Tensor]:
    """Draws of q(z | x) by site, `[k, n, *event]`, and weights `[k, n]` that sum to 1 over them.

    Example:
        >>> z, weights = draw_weighted(vae, (x,), 4)
        >>> z["z"].shape, weights.shape
        (torch.Size([4, 5, 2]), torch.Size([4, 5]))
    """
    z = latent_values(trace(pair.guide, data, draws=draws))

    return z, weigh(pair, data, draws, z).log_weight.softmax(0)


def count_effective(weights: Tensor) -> Tensor:
    """The effective sample size per datum, `[n]`, of weights `[k, n]` that sum to 1.

    Example:
        >>> count_effective(torch.tensor([[0.5, 1.0], [0.5, 0.0]]))
        tensor([2., 1.])
    """
    return 1 / weights.square().sum(0)


def resample(weights: Tensor, values: Tensor, draws: int) -> Tensor:
    """So many of the values `[k, n, *event]`, by their weights `[k, n]`: `[draws, n, *event]`.

    Example:
        >>> resample(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [4.0]]), 3).flatten()
        tensor([4., 4., 4.])
    """
    n = weights.shape[1]
    k = torch.multinomial(weights.T, max(draws, 1), replacement=True).T[:draws]

    return values[k, torch.arange(n, device=weights.device)]
