"""The tail of importance weights: the Pareto shape k̂, and above which value of it trust ends."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

FEW = 10  # effective samples, below which an estimate by importance sampling is doubtful
FLAT = 1e-9  # the largest weight less the cut-off, below which all weights count as equal
LEAST_TAIL = 5  # weights, below which no shape is fitted
LEAST = math.log(
    torch.finfo(torch.float64).tiny
)  # of log w less its largest, above which a w counts
LIGHT = 0.4  # k̂ up to which the delta method's error is right
PRIOR = 10  # pseudo-observations of the shape 1/2


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
    al. (2024). Weights that equal the cut-off are no part of the tail.

    Arguments:
        log_weight: `[k, n]`.

    Returns:
        `[n]`. NaN for fewer than 25 draws. 0 where no weight lies above the cut-off, because many
        share the largest value. Infinite where only one to four do, which are too few for a fit.
    """
    k = log_weight.shape[0]
    count = math.ceil(min(k / 5, 3 * k**0.5))
    if count < LEAST_TAIL:
        return torch.full_like(log_weight[0], math.nan)

    tail = _find_tail(log_weight.double(), count)
    khat = (tail.sizes * _fit_shape(tail) + PRIOR / 2) / (tail.sizes + PRIOR)
    khat = torch.where(tail.sizes < LEAST_TAIL, torch.inf, khat)

    return torch.where(tail.sizes == 0, 0.0, khat).to(log_weight.dtype)


def widen_error(stderr: Tensor, khat: Tensor) -> Tensor:
    r"""The standard error of the logarithm of a mean of weights, widened where they are heavy.

    .. math:: \mathrm{stderr} \, (1 + 12 \max(0, \hat k - 0.4))

    The largest weights of heavy tails are rarely drawn, so that the spread of those that were drawn
    says too little. With the factor, two errors hold the truth in 92 % of repetitions and more, for
    Pareto weights with k of 0 to 0.7 and for log-normal ones, at 1,000 draws. It grows no further
    above k̂ = 1, where no error is enough. See docs/honesty.md.

    Arguments:
        stderr: The error by the delta method, `[n]`.
        khat: k̂ of the same weights, `[n]`. NaN, which is unknown, widens nothing.

    Example:
        >>> widen_error(torch.tensor([0.1, 0.1]), torch.tensor([0.2, 0.5]))
        tensor([0.1000, 0.2200])
    """
    excess = (khat.nan_to_num(0.0).clamp(max=1.0) - LIGHT).clamp(min=0)

    return stderr * (1 + 12 * excess)


class _Tail(NamedTuple):
    """The largest weights of each datum, in ascending order.

    Attributes:
        excess: How far they lie above the cut-off, `[count, n]`. The first of them, which are not
            in the tail, are 0.
        sizes: How many lie above it, `[n]`.
    """

    excess: Tensor
    sizes: Tensor


def _find_tail(log_weight: Tensor, count: int) -> _Tail:
    """The weights above the one after the `count` largest, relative to the largest."""
    relative = log_weight - log_weight.amax(0)
    largest = relative.topk(count + 1, dim=0).values.flip(0)
    cutoff = largest[0].clamp(min=LEAST)
    is_flat = 1 - cutoff.exp() <= FLAT
    is_above = (largest[1:] > cutoff) & ~is_flat
    excess = torch.where(is_above, largest[1:].exp() - cutoff.exp(), 0.0)

    return _Tail(excess=excess, sizes=is_above.sum(0))


def _fit_shape(tail: _Tail) -> Tensor:
    """The shape of a generalised Pareto distribution of the tails, `[n]`.

    Its other parameter, b = -shape / scale, is averaged over a grid by its profile likelihood.
    """
    m = tail.sizes
    sizes = 30 + m.double().sqrt().long()
    i = torch.arange(1, int(sizes.max()) + 1, device=m.device)[:, None]
    largest, quartile = tail.excess[-1], _find_quartile(tail)

    grid = 1 / largest + (1 - (sizes / (i - 0.5)).clamp(min=1).sqrt()) / (3 * quartile)
    shapes = torch.stack([_average_log(b, tail) for b in grid])
    log_likelihood = m * ((-grid / shapes).log() - shapes - 1)
    log_likelihood = log_likelihood.nan_to_num(-math.inf).masked_fill(i > sizes, -math.inf)
    probability = log_likelihood.softmax(0)
    # b spans hundreds of powers of ten, so that a negligible probability would count
    probability = probability.where(probability >= 10 * torch.finfo(grid.dtype).eps, 0.0)
    b = (grid * probability).sum(0) / probability.sum(0)

    return _average_log(b, tail)


def _find_quartile(tail: _Tail) -> Tensor:
    """The first quartile of each tail, `[n]`."""
    below = len(tail.excess) - tail.sizes
    place = (below + (tail.sizes / 4 + 0.5).long() - 1).clamp(0, len(tail.excess) - 1)

    return tail.excess.gather(0, place[None])[0]


def _average_log(b: Tensor, tail: _Tail) -> Tensor:
    """The mean of log(1 - b excess) over each tail, `[n]`. It is the shape that belongs to b."""
    return torch.log1p(-b * tail.excess).sum(0) / tail.sizes
