"""Networks that are given the logarithm of counts."""

import torch
from torch import nn

import pyro_vae as pv


class Sum(nn.Module):
    def __init__(self, given_shapes, out_shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, c):
        return self.weight * (x + c)


def test_only_the_first_variable_is_logged():
    net = pv.networks.logged(Sum)([(3,), (3,)], (3,))
    x, c = torch.tensor([0, 1, 10**6]), torch.tensor([-1.0, 0.0, 2.0])

    torch.testing.assert_close(net(x, c), x.float().log1p() + c)
    assert net(torch.zeros(4, 1, 3), torch.zeros(2, 3)).shape == (4, 2, 3)
