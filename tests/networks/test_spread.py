"""Classes among numbers become one number for each value."""

import pytest
import torch
from torch import nn

import pyro_vae as pv


def build_sum(given_shapes, out_shape):
    """The sum over x with its classes spread, each weighted by its place."""
    layer = nn.Linear(given_shapes[0][0], out_shape[0], bias=False)
    layer.weight.data = torch.arange(float(given_shapes[0][0]))[None]
    return layer


def test_a_class_is_one_hot_and_a_number_is_itself():
    net = pv.networks.spread([0, 3, 0], build_sum)([(3,)], (1,))
    x = torch.tensor([[7.0, 2.0, 0.5], [1.0, 0.0, 2.0]])
    assert net(x).flatten().tolist() == [0 * 7.0 + 3 + 4 * 0.5, 0 * 1.0 + 1 + 4 * 2.0]


def test_masked_tells_it_what_is_missing():
    net = pv.networks.masked(pv.networks.spread([0, 3]))([(2,)], (4,))
    x = torch.tensor([[torch.nan, 1.0], [0.5, torch.nan]])
    assert net(x).isfinite().all()


@pytest.mark.parametrize(
    ("classes", "error", "words"),
    [([0, 2.5], TypeError, "classes"), ([0, -1], ValueError, "classes"), ([0], ValueError, "one")],
    ids=str,
)
def test_wrong_classes(classes, error, words):
    with pytest.raises(error, match=words):
        pv.networks.spread(classes)([(2,)], (4,))
