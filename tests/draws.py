"""What tests say of draws."""

from torch import Tensor


def assert_within_errors(draws: Tensor, truth: Tensor, k: float = 5, floor: float = 0.0) -> None:
    """The mean of draws, over their first dimension, lies within k standard errors of the truth.

    `floor` is added for draws that are constant.
    """
    draws = draws.double()
    error = draws.std(0) / len(draws) ** 0.5
    difference = draws.mean(0) - truth

    assert (difference.abs() <= k * error + floor).all(), difference / error
