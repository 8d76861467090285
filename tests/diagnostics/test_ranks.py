import pytest
import torch

from pyro_vae.diagnostics.ranks import (
    adjust_pvalues,
    choose_bins,
    count_ranks,
    find_pvalue,
    rank_among,
    score_curve,
    score_slope,
    score_spread,
)


def test_a_rank_is_the_number_of_draws_below():
    draws = torch.arange(10.0).reshape(10, 1, 1)
    assert rank_among(torch.tensor([[3.5]]), draws).tolist() == [[4]]
    assert rank_among(torch.tensor([[-1.0]]), draws).tolist() == [[0]]


def test_ties_are_broken_at_random_and_evenly():
    ranks = rank_among(torch.zeros(3000, 1), torch.zeros(4, 3000, 1))
    counts = ranks.flatten().bincount(minlength=5)
    assert counts.sum() == 3000 and (counts - 600).abs().max() < 5 * (3000 * 0.16) ** 0.5


def test_bins_hold_all_ranks_at_their_shares():
    ranks = torch.arange(100)[:, None].expand(100, 2)
    counts, share = count_ranks(ranks, 99, 7)
    assert counts.shape == (7, 2) and counts.sum(0).tolist() == [100, 100]
    assert torch.allclose(counts[:, 0] / 100, share) and share.sum() == pytest.approx(1)


@pytest.mark.parametrize("n, num_draws, bins", [(1000, 99, 20), (10, 99, 2), (1000, 7, 8)])
def test_bins_are_few_for_few_ranks(n, num_draws, bins):
    assert choose_bins(n, num_draws) == bins


def test_scores_have_the_signs_of_what_is_wrong():
    torch.manual_seed(0)
    low, high = torch.randint(50, (500, 1)), 50 + torch.randint(50, (500, 1))
    assert score_slope(low, 99) < -5 and score_slope(high, 99) > 5
    ends = torch.cat([low // 5, 99 - low // 5])
    middle = torch.cat([40 + low // 5, 59 - low // 5])
    assert score_curve(ends, 99) > 5 and score_curve(middle, 99) < -5
    assert score_spread(ends[:, 0], 99) > 5 and score_spread(middle[:, 0], 99) < -5
    assert find_pvalue(low, 99) < 1e-9 < find_pvalue(torch.arange(100)[:, None], 99)


def test_of_ranks_piled_up_at_an_end_a_low_spread_tells_nothing():
    assert score_spread(torch.zeros(500).long(), 99) == 0


def test_holm_adjusts_and_keeps_the_order():
    adjusted = adjust_pvalues(torch.tensor([0.01, 0.04, 0.03, 0.9]))
    assert adjusted.tolist() == pytest.approx([0.04, 0.09, 0.09, 0.9])
