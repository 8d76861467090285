"""Networks that may be given missing values."""

import torch
from torch import Tensor, nn

from pyro_vae.networks.mlp import mlp
from pyro_vae.networks.network import Builder, Network, Shape, build, check_builder
from pyro_vae.recipes import recorded


@recorded
def masked(net: Builder = mlp) -> Builder:
    """A builder of networks that may be given NaN.

    The network sees zeros in place of NaN. It also sees a mask of each variable, 1 where a value is
    observed and 0 where it is missing.

    Arguments:
        net: The builder of the network itself. It is given every variable, and then the mask of
            each.

    Example:
        >>> q = masked(mlp)([(3,)], (4,))
        >>> q(torch.full((5, 3), torch.nan)).isfinite().all().item()
        True
    """
    check_builder(net)

    def build_masked(given_shapes: list[Shape], out_shape: Shape) -> Network:
        inner = build(net, [*given_shapes, *given_shapes], out_shape)

        return Network(_ZerosAndMasks(inner), given_shapes, out_shape)

    return build_masked


class _ZerosAndMasks(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()

        self.net = net

    def forward(self, *given: Tensor) -> Tensor:
        holes = [g.isnan() for g in given]
        filled = [torch.where(hole, 0.0, g) for hole, g in zip(holes, given, strict=True)]
        masks = [(~hole).to(g.dtype) for hole, g in zip(holes, given, strict=True)]

        return self.net(*filled, *masks)
