import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pyro_vae.diagnostics.estimate import (
    Estimate,
    average_data,
    average_draws,
    combine_errors,
    join_blocks,
    standard_error,
    subtract,
    to_plain,
)


@dataclass(frozen=True)
class Nested(Estimate):
    part: Estimate
    draws: Tensor
    missing: Tensor | None


def test_the_error_of_a_mean_is_its_spread_over_many_runs():
    draws = torch.randn(400, 50, 20, dtype=torch.float64)
    runs = [average_draws(run) for run in draws]
    spread = torch.stack([run.value for run in runs]).std(0)
    claimed = torch.stack([run.stderr for run in runs]).square().mean(0).sqrt()
    assert (spread / claimed - 1).abs().max() < 5 / math.sqrt(2 * 400)


def test_a_single_draw_has_no_finite_error():
    assert standard_error(torch.zeros(1, 3)).isinf().all()


def test_the_error_of_a_mean_over_data_holds_no_spread_of_the_data():
    each = Estimate(torch.arange(4.0), torch.full((4,), 2.0))
    assert average_data(each) == Estimate(1.5, 1.0)


def test_a_mean_over_data_keeps_the_dimensions():
    found = average_data(Estimate(torch.ones(4, 3), torch.full((4, 3), 2.0)))
    assert found.value.tolist() == [1.0] * 3 and found.stderr.tolist() == [1.0] * 3


def test_independent_errors_combine_as_the_root_of_their_squares():
    errors = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([2.0])
    assert combine_errors(*errors).item() == 3
    difference = subtract(Estimate(torch.tensor([5.0]), errors[1]), Estimate(*errors[:2]))
    assert difference.value.item() == 4
    assert difference.stderr.item() == pytest.approx(8**0.5)


def test_blocks_are_joined_along_the_data_field_by_field():
    def block(n, start):
        rows = torch.arange(start, start + n)
        return Nested(rows, rows, Estimate(rows, -rows), rows.expand(5, n), None)

    whole, joined = block(7, 0), join_blocks([block(3, 0), block(4, 3)])
    assert isinstance(joined, Nested) and joined.missing is None
    assert torch.equal(joined.value, whole.value) and torch.equal(joined.draws, whole.draws)
    assert torch.equal(joined.part.stderr, whole.part.stderr)


def test_plain_is_dictionaries_and_lists():
    found = Nested(1.0, 0.0, Estimate(torch.zeros(2), None), torch.ones(1, 2), None)
    assert to_plain(found) == {
        "value": 1.0,
        "stderr": 0.0,
        "part": {"value": [0.0, 0.0], "stderr": None},
        "draws": [[1.0, 1.0]],
        "missing": None,
    }
