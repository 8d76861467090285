"""The border of a network: any leading dimensions go in, the right shape comes out.

A *builder* is a callable `(given_shapes, out_shape) -> nn.Module`. `given_shapes` is the list of
the shapes of what goes in. `out_shape` is `(numbers,)`, or `(numbers per pixel, height, width)`
where an image comes out. `mlp` and `conv` are builders. `functools.partial(mlp, hidden=(400,))` is
one with other options. A builder or a module of your own stands in their place.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_function

Shape = tuple[int, ...]
Builder = Callable[[list[Shape], Shape], nn.Module]


class Network(nn.Module):
    r"""A module `body(*given)` that takes any leading dimensions and is checked at its border.

    The leading dimensions of the given variables are broadcast against each other. They are folded
    into one before the body runs, so a convolution sees `[batch, channels, height, width]` under
    any number of plates. Integers (counts, classes) are cast to the body's floating type.

    Arguments:
        body: Takes one tensor per given variable, `[batch, *shape]` each. It returns `[batch,
            *anything]`, with as many numbers a datum as `out_shape` holds.
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
        inputs = [_fold(g, lead, s) for g, s in zip(given, self.given_shapes, strict=True)]
        batch = inputs[0].shape[0]
        weight = next(self.body.parameters(), None)

        if weight is None:
            out = self.body(*inputs)
            self._check_output(out, batch)
        else:
            out = self.body(*(g.to(weight.dtype) for g in inputs))
            self._check_output(out, batch)
            # under autocast the body may return fewer digits, and probabilities need all of them
            out = out.to(weight.dtype)

        return out.reshape(lead + self.out_shape)

    def _check_output(self, out: Tensor, batch: int) -> None:
        numbers = math.prod(self.out_shape)
        is_tensor = isinstance(out, Tensor)
        if is_tensor and out.shape[:1] == (batch,) and out.shape[1:].numel() == numbers:
            return

        got = list(out.shape) if is_tensor else type(out).__name__
        raise ValueError(
            f"net returns the wrong shape: expected [{batch}, {numbers}] (or "
            f"{[batch, *self.out_shape]}), got {got}, for a batch of {batch}. Build it from the "
            "out_shape that the builder is called with."
        )


def _fold(given: Tensor, lead: Shape, shape: Shape) -> Tensor:
    return given.expand(lead + shape).reshape(-1, *shape)


def leading_shape(given: Sequence[Tensor], shapes: Sequence[Shape]) -> Shape:
    """The dimensions of the given tensors to the left of their event shapes, broadcast together.

    Raises:
        TypeError: if the number of tensors is not that of the shapes.
        ValueError: if a tensor has another event shape.

    Example:
        >>> leading_shape([torch.zeros(5, 1, 3), torch.zeros(7)], [(3,), ()])
        (5, 7)
    """
    if len(given) != len(shapes):
        raise TypeError(
            f"expected {len(shapes)} given variable(s) of shapes {list(shapes)}, got {len(given)}"
        )

    leads = []
    for i, (g, shape) in enumerate(zip(given, shapes, strict=True)):
        lead = g.shape[: g.dim() - len(shape)]
        if g.dim() < len(shape) or tuple(g.shape[len(lead) :]) != shape:
            raise ValueError(
                f"given variable {i} has the wrong event shape: expected "
                f"[..., {', '.join(map(str, shape))}], got {list(g.shape)}"
            )
        leads.append(lead)

    # a single shape is kept as it is: an export may hold symbols in it. Equal ones are, for speed
    if leads and all(len(lead) == len(leads[0]) and lead == leads[0] for lead in leads):
        return tuple(leads[0])
    return tuple(torch.broadcast_shapes(*leads))


def check_builder(net: object) -> None:
    """Raise a TypeError unless it is a builder, or a module.

    Example:
        >>> check_builder(pv.networks.mlp)
    """
    check_function("net", net, "a builder (given_shapes, out_shape) -> nn.Module")


def build(net: Builder | nn.Module, given_shapes: list[Shape], out_shape: Shape) -> Network:
    """The network of a conditional, from a builder or from a module of the user's own.

    Raises:
        TypeError: if `net` is neither, or the builder does not return a module.
    """
    check_builder(net)
    if not isinstance(net, nn.Module):
        net = _call_builder(net, given_shapes, out_shape)
    if isinstance(net, Network):
        return net

    return Network(net, given_shapes, out_shape)


def _call_builder(net: Builder, given_shapes: list[Shape], out_shape: Shape) -> nn.Module:

    built = net(given_shapes, out_shape)
    if not isinstance(built, nn.Module):
        raise TypeError(
            f"net: the builder returned a {type(built).__name__}, expected an nn.Module"
        )

    return built
