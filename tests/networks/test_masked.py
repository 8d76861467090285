"""Networks that are told what is missing."""

import torch
from torch import nn

import pyro_vae as pv
from tests.oracles import affine


def test_the_guide_sees_zeros_and_the_mask():
    seen = []

    class Body(nn.Module):
        def __init__(self, given_shapes, out_shape):
            super().__init__()
            self.shapes, self.linear = (
                given_shapes,
                affine(torch.zeros(out_shape[0], 3), torch.zeros(out_shape[0])),
            )

        def forward(self, x, mask):
            seen.append((x, mask))
            return self.linear(x)

    q = pv.Normal(2, given=3, net=pv.masked(Body))
    q(torch.tensor([[1.0, torch.nan, 0.0], [torch.nan, 2.0, torch.nan]]))
    (x, mask), shapes = seen[0], q.net.body.net.body.shapes

    assert shapes == [(3,), (3,)]
    assert x.tolist() == [[1, 0, 0], [0, 2, 0]] and mask.tolist() == [[1, 0, 1], [0, 1, 0]]
