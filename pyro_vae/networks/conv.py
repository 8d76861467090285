"""Convolutional networks, from images and towards images."""

import math
from collections.abc import Callable, Sequence

import torch  # noqa: F401  for the example
from torch import Tensor, nn

from pyro_vae.arguments import check_whole
from pyro_vae.networks.mlp import concatenate
from pyro_vae.networks.network import Network, Shape
from pyro_vae.recipes import recorded

Activation = Callable[[], nn.Module]


@recorded
def conv(
    given_shapes: Sequence[Shape],
    out_shape: Shape,
    *,
    channels: Sequence[int] = (32, 64),
    hidden: int = 256,
    activation: Activation = nn.ReLU,
) -> Network:
    """A convolutional network for images of any size and number of channels, in either direction.

    A given variable of shape `(channels, height, width)` passes through convolutions that halve it.
    Any other variable is concatenated to what comes out of them. If an image comes out, transposed
    convolutions double it back.

    Arguments:
        given_shapes: The shapes of the given variables.
        out_shape: The shape of what comes out. Three dimensions are an image.
        channels: The channels after each halving.
        hidden: The width of the dense layer between.
        activation: Makes the activation between layers.

    Raises:
        ValueError: if no image goes in and none comes out, or there are no channels.

    Example:
        >>> conv([(1, 28, 28)], (40,))(torch.zeros(2, 5, 1, 28, 28)).shape
        torch.Size([2, 5, 40])
        >>> conv([(20,)], (3, 19, 31))(torch.zeros(2, 5, 20)).shape
        torch.Size([2, 5, 3, 19, 31])
    """
    if not channels:
        raise ValueError("channels: expected at least one number of channels, got none")
    if not any(map(_is_image, [*given_shapes, out_shape])):
        raise ValueError(
            "conv needs an image, a shape (channels, height, width), going in or coming out: got "
            f"given_shapes {list(given_shapes)} and out_shape {tuple(out_shape)}. Give images such "
            "an event shape, or use mlp."
        )

    hidden = check_whole("hidden", hidden)
    body = _Convolutions(given_shapes, out_shape, channels, hidden, activation)

    return Network(body, given_shapes, out_shape)


class _Convolutions(nn.Module):
    """Each given variable through its encoder, everything concatenated, then one head."""

    def __init__(self, given_shapes, out_shape, channels, hidden, activation):
        super().__init__()

        self.encoders = nn.ModuleList()
        width = 0
        for shape in given_shapes:
            layers: list[nn.Module] = []
            if _is_image(shape):
                layers, shape = _halve(shape, channels, activation)
            self.encoders.append(nn.Sequential(*layers))
            width += math.prod(shape)

        layers = [nn.Linear(width, hidden), activation()]
        if _is_image(out_shape):
            layers += _double(hidden, out_shape, channels, activation)
        else:
            layers.append(nn.Linear(hidden, math.prod(out_shape)))
        self.head = nn.Sequential(*layers)

    def forward(self, *given: Tensor) -> Tensor:
        encoded = [encode(g) for encode, g in zip(self.encoders, given, strict=True)]

        return self.head(concatenate(encoded))


def _is_image(shape: Shape) -> bool:
    return len(shape) == 3


def _half(size: Sequence[int]) -> list[int]:
    """Height and width after a convolution of stride 2."""
    return [(s + 1) // 2 for s in size]


def _halve(
    shape: Shape, channels: Sequence[int], activation: Activation
) -> tuple[list[nn.Module], Shape]:
    """Convolutions from an image of this shape, and the shape of what comes out of them."""
    before, *size = shape

    layers: list[nn.Module] = []
    for after in channels:
        layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1))
        layers.append(activation())
        before, size = after, _half(size)

    return layers, (before, *size)


def _double(
    hidden: int, out_shape: Shape, channels: Sequence[int], activation: Activation
) -> list[nn.Module]:
    """A dense layer, and transposed convolutions to an image of this shape."""
    image_channels, *size = out_shape
    sizes = [size]
    for _ in channels:
        sizes.append(_half(sizes[-1]))
    smallest = sizes[-1]

    layers = [nn.Linear(hidden, channels[-1] * math.prod(smallest)), activation()]
    layers.append(nn.Unflatten(1, (channels[-1], *smallest)))
    for i in reversed(range(len(channels))):
        after = channels[i - 1] if i else image_channels
        layers.append(_transposed(channels[i], after, sizes[i + 1], sizes[i]))
        layers.append(activation())
    layers.pop()  # none after the last layer

    return layers


def _transposed(before: int, after: int, small: Sequence[int], big: Sequence[int]) -> nn.Module:
    """A transposed convolution from one size to twice that size, or to one pixel less."""
    extra = [b - (2 * s - 1) for b, s in zip(big, small, strict=True)]

    return nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=extra)
