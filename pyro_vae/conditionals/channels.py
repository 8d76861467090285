"""The numbers of an image: several for one pixel lie as channels do, before height and width."""

import math

from torch import Tensor

from pyro_vae.networks import Shape


def choose_out_shape(event_shape: Shape, numbers: int) -> Shape:
    """The shape in which a network returns the numbers for an event.

    It is `(numbers per pixel, height, width)` for an image, and `(numbers,)` for anything else.

    Example:
        >>> choose_out_shape((3, 32, 32), 2 * 3 * 32 * 32)
        (6, 32, 32)
        >>> choose_out_shape((3,), 6)
        (6,)
    """
    size = event_shape[1:]
    pixels = math.prod(size)
    is_image = len(event_shape) == 3 and numbers % pixels == 0
    if not is_image:
        return (numbers,)

    return (numbers // pixels, *size)


def arrange(numbers: Tensor, shape: Shape, event_shape: Shape) -> Tensor:
    """Numbers `[*lead, prod(shape)]` as a parameter `[*lead, *shape]`.

    A parameter of shape `[*event, *several]` has several numbers for one entry of the event. They
    come as `[*several, *event]`, so that the output of a convolution fits.

    Example:
        >>> import torch
        >>> arrange(torch.arange(6), (3, 2), (3,)).tolist()
        [[0, 3], [1, 4], [2, 5]]
    """
    lead = numbers.shape[:-1]
    several = shape[len(event_shape) :]
    if not several or shape != event_shape + several:
        return numbers.reshape(lead + shape)

    channels = numbers.reshape(lead + several + event_shape)
    dims = range(len(several))
    first = [len(lead) + dim for dim in dims]
    last = [dim - len(several) for dim in dims]

    return channels.movedim(first, last)
