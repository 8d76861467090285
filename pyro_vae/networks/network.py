"""Networks: tensor to tensor, no probability.

A *builder* is any callable `(given_shapes, out_shape) -> nn.Module`. `given_shapes` is the list of
the shapes of what goes in, `out_shape` is `(numbers,)`, or `(numbers per pixel, height, width)`
where an image comes out. `mlp` and `conv` are builders; `functools.partial(mlp, hidden=(400,))` is
one with other options; a builder or module of your own stands in their place.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]
Builder = Callable[[list[Shape], Shape], nn.Module]


class Network(nn.Module):
    r"""A module `body(*given)`, made to accept any leading dimensions and checked at its border.

    The leading dimensions of the given variables are broadcast against each other and folded into
    one before the body runs, so a convolution sees `[batch, channels, height, width]` under any
    number of plates. Integers (counts, classes) are cast to the body's floating type.

    Arguments:
        body: Takes one tensor per given variable, `[batch, *shape]` each, and returns `[batch,
            *anything]` of as many numbers a datum as `out_shape` holds.
        given_shapes: The shapes of the given variables.
        out_shape: The shape of what comes out.

    Raises:
        ValueError: if a given variable, or what the body returns, has another shape.
        TypeError: if another number of variables is given.

    Example:
        >>> net = Network(nn.Linear(3, 4), [(3,)], (2, 2))
        >>> net(torch.zeros(7, 5, 3)).shape
        torch.Size([7, 5, 2, 2])
    """

    def __init__(self, body: nn.Module, given_shapes: Sequence[Shape], out_shape: Shape):
        super().__init__()

        self.body = body
        self.given_shapes = [tuple(shape) for shape in given_shapes]
        self.out_shape = tuple(out_shape)

    def forward(self, *given: Tensor) -> Tensor:
        lead = leading_shape(given, self.given_shapes)
        like = next(self.body.parameters(), None)
        inputs = [
            g.expand(lead + shape).reshape(-1, *shape)
            for g, shape in zip(given, self.given_shapes, strict=True)
        ]
        if like is not None:
            inputs = [g.to(like.dtype) for g in inputs]

        out = self.body(*inputs)

        batch, numbers = inputs[0].shape[0], math.prod(self.out_shape)
        if (
            not isinstance(out, Tensor)
            or out.shape[:1] != (batch,)
            or out.shape[1:].numel() != numbers
        ):
            raise ValueError(
                f"net returns the wrong shape: expected [{batch}, {numbers}] (or {[batch, *self.out_shape]}), got "
                f"{list(out.shape) if isinstance(out, Tensor) else type(out).__name__}, for a batch of {batch}. "
                "Build it from the out_shape that the builder is called with."
            )

        # under autocast the body may return fewer digits; probabilities are computed with all
        return (out if like is None else out.to(like.dtype)).reshape(lead + self.out_shape)


def leading_shape(given: Sequence[Tensor], shapes: Sequence[Shape]) -> Shape:
    """The dimensions of the given tensors to the left of their event shapes, broadcast together."""
    if len(given) != len(shapes):
        raise TypeError(
            f"expected {len(shapes)} given variable(s) of shapes {list(shapes)}, got {len(given)}"
        )
    leads = []
    for i, (g, shape) in enumerate(zip(given, shapes, strict=True)):
        lead = g.shape[: g.dim() - len(shape)]
        if g.dim() < len(shape) or tuple(g.shape[len(lead) :]) != shape:
            raise ValueError(
                f"given variable {i} has the wrong event shape: expected [..., {', '.join(map(str, shape))}], "
                f"got {list(g.shape)}"
            )
        leads.append(lead)
    return tuple(leads[0]) if len(leads) == 1 else tuple(torch.broadcast_shapes(*leads))


def build(net: Builder | nn.Module, given_shapes: list[Shape], out_shape: Shape) -> Network:
    """The network of a conditional, from a builder, or from a module of the user's own."""
    if not isinstance(net, nn.Module):
        if not callable(net):
            raise TypeError(
                f"net: expected a builder (given_shapes, out_shape) -> nn.Module, got {net!r}"
            )
        built = net(given_shapes, out_shape)
        if not isinstance(built, nn.Module):
            raise TypeError(
                f"net: the builder returned a {type(built).__name__}, expected an nn.Module"
            )
        net = built
    return net if isinstance(net, Network) else Network(net, given_shapes, out_shape)


def _concatenate(given: Iterable[Tensor]) -> Tensor:
    return torch.cat([g.unsqueeze(-1).flatten(1) for g in given], dim=-1)


class _Concatenate(nn.Module):
    def forward(self, *given: Tensor) -> Tensor:
        return _concatenate(given)


class _Chain(nn.Sequential):
    """A `Sequential` whose first module takes several arguments."""

    def forward(self, *given: Tensor) -> Tensor:
        first, *rest = self
        out = first(*given)
        for module in rest:
            out = module(out)
        return out


def mlp(
    given_shapes: Sequence[Shape],
    out_shape: Shape,
    *,
    hidden: Sequence[int] = (256, 256),
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> Network:
    """A multi-layer perceptron; several given variables are flattened and concatenated.

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
    widths = [sum(map(math.prod, given_shapes)), *hidden, math.prod(out_shape)]
    layers: list[nn.Module] = [_Concatenate()]
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), activation()]
    return Network(_Chain(*layers[:-1]), given_shapes, out_shape)


class _Convolutions(nn.Module):
    """Strided convolutions over each image, everything concatenated, and, towards an image, the way back."""

    def __init__(self, given_shapes, out_shape, channels, hidden, activation):
        super().__init__()

        self.encoders = nn.ModuleList()
        width = 0
        for shape in given_shapes:
            layers: list[nn.Module] = []
            if len(shape) == 3:
                c, *size = shape
                for width_out in channels:
                    layers += [nn.Conv2d(c, width_out, 3, stride=2, padding=1), activation()]
                    c, size = width_out, [(s + 1) // 2 for s in size]
                shape = (c, *size)
            self.encoders.append(nn.Sequential(*layers))
            width += math.prod(shape)

        if len(out_shape) != 3:
            self.head = nn.Sequential(
                nn.Linear(width, hidden), activation(), nn.Linear(hidden, math.prod(out_shape))
            )
            return

        c, *size = out_shape
        sizes = [size]
        for _ in channels:
            sizes.append([(s + 1) // 2 for s in sizes[-1]])
        layers = [nn.Linear(width, hidden), activation()]
        layers += [nn.Linear(hidden, channels[-1] * math.prod(sizes[-1])), activation()]
        layers += [nn.Unflatten(1, (channels[-1], *sizes[-1]))]
        for i in reversed(range(len(channels))):
            extra = [
                big - (2 * small - 1) for big, small in zip(sizes[i], sizes[i + 1], strict=True)
            ]
            width_out = channels[i - 1] if i else c
            layers += [
                nn.ConvTranspose2d(
                    channels[i], width_out, 3, stride=2, padding=1, output_padding=extra
                )
            ]
            layers += [activation()] if i else []
        self.head = nn.Sequential(*layers)

    def forward(self, *given: Tensor) -> Tensor:
        return self.head(
            _concatenate(encode(g) for encode, g in zip(self.encoders, given, strict=True))
        )


def conv(
    given_shapes: Sequence[Shape],
    out_shape: Shape,
    *,
    channels: Sequence[int] = (32, 64),
    hidden: int = 256,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> Network:
    """A convolutional network for images of any size and number of channels, in either direction.

    A given variable of shape `(channels, height, width)` passes through convolutions that halve it,
    any other is concatenated to what comes out of them; if an image comes out, transposed
    convolutions double it back.

    Arguments:
        given_shapes: The shapes of the given variables.
        out_shape: The shape of what comes out; three dimensions are an image.
        channels: The channels after each halving.
        hidden: The width of the dense layer between.
        activation: Makes the activation between layers.

    Raises:
        ValueError: if no image goes in and none comes out.

    Example:
        >>> conv([(1, 28, 28)], (40,))(torch.zeros(2, 5, 1, 28, 28)).shape
        torch.Size([2, 5, 40])
        >>> conv([(20,)], (3, 19, 31))(torch.zeros(2, 5, 20)).shape
        torch.Size([2, 5, 3, 19, 31])
    """
    if not channels:
        raise ValueError("channels: expected at least one number of channels, got none")
    if all(len(shape) != 3 for shape in [*given_shapes, out_shape]):
        raise ValueError(
            f"conv needs an image, a shape (channels, height, width), going in or coming out: got given_shapes "
            f"{list(given_shapes)} and out_shape {tuple(out_shape)}. Give images such an event shape, or use mlp."
        )
    return Network(
        _Convolutions(given_shapes, out_shape, channels, hidden, activation),
        given_shapes,
        out_shape,
    )
