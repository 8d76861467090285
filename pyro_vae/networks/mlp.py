"""Multi-layer perceptrons."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_sizes
from pyro_vae.networks.network import Network, Shape
from pyro_vae.recipes import recorded


@recorded
def mlp(
    given_shapes: Sequence[Shape],
    out_shape: Shape,
    *,
    hidden: Sequence[int] = (256, 256),
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> Network:
    """A multi-layer perceptron. Several given variables are flattened and concatenated.

    Arguments:
        given_shapes: The shapes of the given variables.
        out_shape: The shape of what comes out.
        hidden: The widths of the hidden layers.
        activation: Makes the activation between layers.

    Example:
        >>> net = mlp([(20,), (10,)], (784,), hidden=(400,))
        >>> net(torch.zeros(5, 1, 20), torch.zeros(3, 10)).shape
        torch.Size([5, 3, 784])
    """
    hidden = check_sizes("hidden", hidden)
    widths = [sum(map(math.prod, given_shapes)), *hidden, math.prod(out_shape)]

    layers: list[nn.Module] = [_Concatenate()]
    for width_in, width_out in itertools.pairwise(widths):
        layers.append(nn.Linear(width_in, width_out))
        layers.append(activation())
    layers.pop()  # none after the last layer

    return Network(_Chain(*layers), given_shapes, out_shape)


def concatenate(given: Iterable[Tensor]) -> Tensor:
    """Tensors `[batch, *anything]` as one, `[batch, numbers]`."""
    return torch.cat([g.unsqueeze(-1).flatten(1) for g in given], dim=-1)


class _Concatenate(nn.Module):
    def forward(self, *given: Tensor) -> Tensor:
        return concatenate(given)


class _Chain(nn.Sequential):
    """A `Sequential` whose first module takes several arguments."""

    def forward(self, *given: Tensor) -> Tensor:
        first, *rest = self

        out = first(*given)
        for module in rest:
            out = module(out)

        return out
