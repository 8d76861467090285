"""Networks that are given classes among numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pyro_vae.arguments import check_whole
from pyro_vae.networks.mlp import mlp
from pyro_vae.networks.network import Builder, Network, Shape, build, check_builder
from pyro_vae.recipes import recorded


@recorded
def spread(classes: Sequence[int], net: Builder = mlp) -> Builder:
    """A builder of networks in which a class is one number for each of its values, 0 or 1.

    Arguments:
        classes: For each number of x, how many classes it has, or 0 if it is no class.
        net: The builder of the network itself. It is given x with its classes spread, and whatever
            else there is.

    Raises:
        TypeError, ValueError: if a number of classes is no whole number, or x has another length.

    Example:
        >>> q = spread([0, 3])([(2,)], (4,))
        >>> q(torch.tensor([[0.5, 2.0]])).shape
        torch.Size([1, 4])
    """
    check_builder(net)
    counts = [check_whole("classes", count, least=0) for count in classes]

    def build_spread(given_shapes: list[Shape], out_shape: Shape) -> Network:
        if tuple(given_shapes[0]) != (len(counts),):
            raise ValueError(f"classes: expected one number for each of {given_shapes[0]}")
        width = sum(max(1, count) for count in counts)
        inner = build(net, [(width,), *given_shapes[1:]], out_shape)
        return Network(_Spread(counts, inner), given_shapes, out_shape)

    return build_spread


class _Spread(nn.Module):
    def __init__(self, classes: list[int], net: nn.Module):
        super().__init__()

        self.classes = classes
        self.net = net

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        parts = [
            one_hot(part.long().clamp(0, count - 1), count).to(x) if count else part.unsqueeze(-1)
            for part, count in zip(x.unbind(-1), self.classes, strict=True)
        ]
        return self.net(torch.cat(parts, -1), *rest)
