"""The tail of importance weights: the Pareto shape k̂, and above which value of it trust ends."""

import math

import torch
from torch import Tensor

FEW = 10  # effective samples, below which an estimate by importance sampling is doubtful
LEAST_TAIL = 5  # weights, below which no shape is fitted
FLAT = 1e-9  # the largest weight less the cut-off, below which all weights count as equal


def khat_threshold(num_samples: int) -> float:
    """The k̂ above which an estimate by importance sampling is not to be trusted.

    It is min(1 - 1 / log10 S, 0.7) for S draws. (Vehtari, Simpson, Gelman, Yao & Gabry, 2024)

    Example:
        >>> khat_threshold(100), khat_threshold(5000)
        (0.5, 0.7)
    """
    if num_samples <= 1:
        return 0.0

    return min(1 - 1 / math.log10(num_samples), 0.7)


def pareto_khat(log_weight: Tensor) -> Tensor:
    """The shape of a generalised Pareto distribution fitted to the largest weights, per datum.

    It is the empirical Bayes estimate of Zhang & Stephens (2009), with the weak prior of Vehtari et
    al. (2024).

    Arguments:
        log_weight: `[k, n]`.

    Returns:
        `[n]`. NaN for fewer than 25 draws, 0 where all weights are equal.
    """
    k = log_weight.shape[0]
    count = math.ceil(min(k / 5, 3 * k**0.5))
    if count < LEAST_TAIL:
        return torch.full_like(log_weight[0], math.nan)

    excess = _find_tail(log_weight, count)
    is_flat = excess[-1] <= FLAT
    # a fit to equal weights is undefined, so that of other numbers stands in and is discarded
    stand_in = torch.linspace(0.1, 1.0, count, dtype=excess.dtype, device=excess.device)
    excess = torch.where(is_flat, stand_in[:, None], excess).clamp(min=1e-300)
    khat = (count * _fit_shape(excess) + 5) / (count + 10)

    return torch.where(is_flat, torch.zeros_like(khat), khat)


def _find_tail(log_weight: Tensor, count: int) -> Tensor:
    """How far the largest weights lie above the next one, in ascending order, `[count, n]`."""
    relative = log_weight - log_weight.amax(0)
    largest = relative.topk(count + 1, dim=0).values.flip(0).exp()

    return largest[1:] - largest[0]


def _fit_shape(excess: Tensor) -> Tensor:
    """The shape of a generalised Pareto distribution of numbers in ascending order, `[m, n]`.

    Its other parameter, b = -shape / scale, is averaged over a grid by its profile likelihood.
    """
    m = excess.shape[0]
    size = 30 + int(m**0.5)
    i = torch.arange(1, size + 1, dtype=excess.dtype, device=excess.device)[:, None]
    quartile = excess[int(m / 4 + 0.5) - 1].clamp(min=1e-12)

    grid = 1 / excess[-1] + (1 - (size / (i - 0.5)).sqrt()) / (3 * quartile)
    shapes = torch.stack([torch.log1p(-b * excess).mean(0) for b in grid])
    log_likelihood = m * ((-grid / shapes).log() - shapes - 1)
    probability = log_likelihood.nan_to_num(-math.inf).softmax(0)
    b = (grid * probability).sum(0)

    return torch.log1p(-b * excess).mean(0)
