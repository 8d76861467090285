"""Shapes: of variables, and of the parameters of their distributions."""

import inspect
from collections.abc import Callable, Mapping, Sequence

from pyro_vae.arguments import check_sizes
from pyro_vae.networks import Shape

ShapeLike = int | Sequence[int]
# from the shape of an event, and sizes such as `classes`, to the shape of a parameter
ParameterShape = Callable[..., Shape]


def as_shape(name: str, value: ShapeLike) -> Shape:
    """A shape as a tuple. A whole number is a vector.

    Raises:
        TypeError: if it is no whole number and no tuple of them.
        ValueError: if one is not positive.

    Example:
        >>> as_shape("event_shape", 3)
        (3,)
    """
    is_several = isinstance(value, Sequence) and not isinstance(value, str)
    return check_sizes(name, value if is_several else (value,))


def as_vector(event: Shape) -> Shape:
    """The shape of an event, which has to be a vector, or an array of vectors.

    Raises:
        ValueError: if it is a single number.
    """
    if not event:
        raise ValueError("event_shape () has too few dimensions, an event of it is a vector")
    return event


def square(event: Shape) -> Shape:
    """The shape of a matrix for each vector of an event."""
    event = as_vector(event)

    return (*event, event[-1])


def drop_last(event: Shape) -> Shape:
    """The shape of one number for each vector of an event."""
    return as_vector(event)[:-1]


def find_sizes(shapes: Mapping[str, ParameterShape | None]) -> dict[str, int | None]:
    """The sizes that the shapes of parameters depend on, with their defaults.

    Example:
        >>> find_sizes({"loc": None, "logits": lambda event, classes: (*event, classes)})
        {'classes': None}
    """
    sizes = {}
    for shape in shapes.values():
        for argument in _arguments_after_event(shape):
            is_needed = argument.default is argument.empty
            sizes[argument.name] = None if is_needed else argument.default
    return sizes


def call_shape(shape: ParameterShape | None, event: Shape, sizes: Mapping[str, int]) -> Shape:
    """The shape of a parameter, for an event of a given shape. None is the event's shape."""
    if shape is None:
        return event
    chosen = {argument.name: sizes[argument.name] for argument in _arguments_after_event(shape)}

    return tuple(shape(event, **chosen))


def _arguments_after_event(shape: ParameterShape | None) -> list[inspect.Parameter]:
    if shape is None:
        return []
    _, *arguments = inspect.signature(shape).parameters.values()
    return arguments
