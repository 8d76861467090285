"""p(a | b), the one abstraction."""

from collections.abc import Sequence
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.conditionals.shapes import ShapeLike, as_shape
from pyro_vae.networks import Shape, leading_shape
from pyro_vae.recipes import Recorded

GivenLike = ShapeLike | list


class Conditional(Recorded, nn.Module):
    """p(a | b): a module that is called with the given variables and returns a distribution over a.

    Arguments:
        event_shape: The shape of a. An int is a vector.
        given: The shape of b. An int is a vector and a tuple is one shape. A *list* of shapes
            stands for several variables, which the call then takes in that order. None says that
            nothing is given, and the parameters are free.

    Attributes:
        event_shape: The shape of a, a tuple.
        given_shapes: The shapes of what is given, a list of tuples.
        takes_missing: Whether NaN in a is a missing value, see `missing`.

    Raises:
        TypeError, ValueError: if a shape is none.
    """

    takes_missing: ClassVar[bool] = False

    def __init__(self, event_shape: ShapeLike, given: GivenLike | None = None):
        super().__init__()

        self.event_shape = as_shape("event_shape", event_shape)
        self.given_shapes: list[Shape] = _list_shapes(given)

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        raise NotImplementedError

    def __repr__(self) -> str:
        bar = " | " + ", ".join(map(str, self.given_shapes)) if self.given_shapes else ""
        options = "".join(f", {key}={value}" for key, value in self.options().items())

        return f"{type(self).__name__}({self.event_shape}{bar}{options})"

    @property
    def support(self) -> constraints.Constraint | None:
        """The set in which a lies, or None where only a run tells."""
        return None

    @property
    def given_supports(self) -> list[constraints.Constraint | None]:
        """The set in which each given variable must lie, or None where anything will do."""
        return [None] * len(self.given_shapes)

    def options(self) -> dict[str, object]:
        """What `repr` shows beside the shapes."""
        return {}

    def _check_shapes(
        self, p: dist.TorchDistribution, given: Sequence[Tensor]
    ) -> dist.TorchDistribution:
        """The distribution that a call returns, refused unless its shapes are as declared."""
        lead = leading_shape(given, self.given_shapes)
        if tuple(p.batch_shape) == lead and tuple(p.event_shape) == self.event_shape:
            return p

        raise ValueError(
            f"{self}: expected a distribution of batch_shape {lead} and event_shape "
            f"{self.event_shape}, got {tuple(p.batch_shape)} and {tuple(p.event_shape)}. A "
            "parameter whose shape is not the event's is named with its shape: family(cls, "
            "logits=lambda event, classes: (*event, classes))."
        )


def _list_shapes(given: GivenLike | None) -> list[Shape]:
    if given is None:
        return []
    if isinstance(given, list):
        return [as_shape("given", shape) for shape in given]
    return [as_shape("given", given)]
