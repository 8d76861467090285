"""Rows as a pair takes them. The data themselves are never changed."""

import torch

from pyro_vae.weights.rows import BLOCK, Preparation, Rows, widen

CPU = torch.device("cpu")


def test_rows_are_taken_in_their_types_with_x_transformed():
    x, y = torch.arange(6.0).double().reshape(3, 2), torch.tensor([1, 200, 3], dtype=torch.uint8)
    rows = Rows((x, y), Preparation(CPU, torch.float32, lambda values: values.mul_(10)))
    for chosen in (slice(0, 2), torch.tensor([0, 1])):
        taken, labels = rows.take(chosen)
        assert taken.dtype == torch.float32 and taken.tolist() == [[0, 10], [20, 30]]
        assert labels.dtype == torch.int64 and labels.tolist() == [1, 200]
    assert x[1].tolist() == [2, 3]


def test_a_transform_in_place_writes_to_no_view_of_the_data():
    x = torch.ones(3, 2)
    rows = Rows((x,), Preparation(CPU, None, lambda values: values.zero_()))
    assert not rows.take(slice(0, 2))[0].any() and x.all()


def test_blocks_hold_all_rows_once_and_two_at_least():
    x = torch.arange(7.0)[:, None].expand(7, BLOCK["cpu"])
    plain = Preparation(CPU, None, None)
    assert [(start, len(part[0])) for start, part in Rows((x,), plain).cut()] == [
        (0, 2),
        (2, 2),
        (4, 2),
        (6, 1),
    ]
    assert len(list(Rows((x[:, :5],), plain).cut())) == 1


def test_only_small_integers_are_widened():
    for dtype in (torch.uint8, torch.int8, torch.int16):
        assert widen(torch.ones(1, dtype=dtype)).dtype == torch.int64
    for dtype in (torch.int32, torch.int64, torch.bool, torch.float16):
        assert widen(torch.ones(1, dtype=dtype)).dtype == dtype
