"""Ranks of the truth among draws: how they are counted, and tests of whether they are uniform."""

import torch
from torch import Tensor, nn

BINS = 20


def rank_among(truth: Tensor, draws: Tensor) -> Tensor:
    """How many draws `[k, n, *event]` lie below the truth `[n, *event]`, `[n, d]`.

    Ties are broken at random.
    """
    below = (draws < truth).sum(0)
    equal = (draws == truth).sum(0)
    share = torch.rand(equal.shape, device=equal.device, dtype=torch.float64)
    ranks = below + (share * (equal + 1)).long()

    return ranks.reshape(truth.shape[0], -1)


def choose_bins(n: int, num_draws: int) -> int:
    """How many bins are good for a histogram of n ranks."""
    possible = num_draws + 1

    return max(1, min(BINS, possible, max(2, n // 5)))


def count_ranks(ranks: Tensor, num_draws: int, bins: int) -> tuple[Tensor, Tensor]:
    """Counts of ranks `[n, d]` in bins, `[bins, d]`, and the share expected in each, `[bins]`."""
    possible = num_draws + 1
    bin_of = torch.arange(possible) * bins // possible
    counts = nn.functional.one_hot(bin_of[ranks], bins).sum(0).T.double()
    share = bin_of.bincount(minlength=bins).double() / possible

    return counts, share


def find_pvalue(ranks: Tensor, num_draws: int) -> Tensor:
    """The p-values of a chi-squared test that ranks `[n, d]` are uniform, `[d]`."""
    n = len(ranks)
    counts, share = count_ranks(ranks, num_draws, choose_bins(n, num_draws))
    expected = (share * n)[:, None].expand_as(counts)

    statistic = ((counts - expected).square() / expected).sum(0)
    freedom = torch.full_like(statistic, len(counts) - 1)
    return torch.special.gammaincc(freedom / 2, statistic / 2)


def combine_tests(ranks: Tensor, num_draws: int) -> Tensor:
    """The p-values of two tests of ranks `[n, d]` together, `[d]`: chi-squared, and of the slope.

    The first finds any shape. The second finds a small bias that the first does not.
    """
    tail = torch.special.ndtr(-score_slope(ranks, num_draws).abs())
    smaller = torch.minimum(find_pvalue(ranks, num_draws), 2 * tail)

    return (2 * smaller).clamp(max=1)


def score_slope(ranks: Tensor, num_draws: int) -> Tensor:
    """The z-score of the linear contrast of ranks `[n, d]`, `[d]`: above 0 if they are high."""
    root_n = len(ranks) ** 0.5
    u = _centre(ranks, num_draws)
    square = _centre(torch.arange(num_draws + 1), num_draws).square()

    return root_n * u.mean(0) / square.mean().sqrt()


def score_curve(ranks: Tensor, num_draws: int) -> Tensor:
    """The z-score of the quadratic contrast of ranks `[n, d]`, `[d]`: above 0 for a U."""
    root_n = len(ranks) ** 0.5
    u = _centre(ranks, num_draws)
    square = _centre(torch.arange(num_draws + 1), num_draws).square()
    spread = square.std(correction=0).clamp(min=1e-12)

    return root_n * (u.square().mean(0) - square.mean()) / spread


def score_spread(ranks: Tensor, num_draws: int) -> float:
    """The z-score of the variance of the normal scores of ranks `[n]` about their own mean.

    Above 0 the draws are too narrow. Ranks that pile up at an end only lower the variance. A low
    one then tells nothing, and the score is 0.
    """
    possible = num_draws + 1
    scores = torch.special.ndtri((torch.arange(possible).double() + 0.5) / possible)
    square = (scores[ranks] - scores[ranks].mean()).square()
    excess = (square.mean() - scores.var(correction=0)).item()
    z = len(ranks) ** 0.5 * excess / max(square.std().item(), 1e-12)

    at_end = max((ranks == end).double().mean().item() for end in (0, num_draws))
    if z < 0 and at_end > 1 / possible:
        return 0.0
    return z


def adjust_pvalues(pvalue: Tensor) -> Tensor:
    """p-values adjusted for there being d of them, `[d]` (Holm, 1979)."""
    d = len(pvalue)
    order = pvalue.argsort()
    steps = torch.arange(d, 0, -1, dtype=pvalue.dtype) * pvalue[order]
    adjusted = steps.cummax(0).values.clamp(max=1)

    return torch.empty_like(steps).scatter_(0, order, adjusted)


def _centre(ranks: Tensor, num_draws: int) -> Tensor:
    """Ranks as numbers between -1/2 and 1/2."""
    return (ranks.double() + 0.5) / (num_draws + 1) - 0.5
