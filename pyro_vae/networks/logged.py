"""Networks that are given counts."""

import torch
from torch import Tensor, nn

from pyro_vae.networks.mlp import mlp
from pyro_vae.networks.network import Builder, Network, Shape, build
from pyro_vae.recipes import recorded


@recorded
def logged(net: Builder = mlp) -> Builder:
    """A builder of networks that are given log(1 + x) for x, the first given variable.

    Counts that run over several orders of magnitude come to one. (Lopez, Regier, Cole, Jordan &
    Yosef, 2018)

    Arguments:
        net: The builder of the network itself.

    Example:
        >>> q = logged(mlp)([(3,), (2,)], (4,))
        >>> q(torch.tensor([0.0, 10.0, 1e6]), torch.zeros(2)).shape
        torch.Size([4])
    """

    def build_logged(given_shapes: list[Shape], out_shape: Shape) -> Network:
        inner = build(net, given_shapes, out_shape)

        return Network(_Logged(inner), given_shapes, out_shape)

    return build_logged


class _Logged(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()

        self.net = net

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        return self.net(torch.log1p(x), *rest)
