"""Conditionals made of numbers: those of a network, or free ones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_vae.conditionals.conditional import Conditional, GivenLike
from pyro_vae.conditionals.layout import Layout
from pyro_vae.conditionals.shapes import ShapeLike
from pyro_vae.networks import Builder, Network, Shape, build


class Parametric(Conditional):
    """A conditional whose distribution is made of numbers, by one or more layouts.

    Where something is given, a network computes the numbers. Where nothing is, they are free.

    Attributes:
        net: The network, or None.
        raw: The free numbers, not yet constrained, or None.
    """

    net: Network | None
    raw: nn.Parameter | None

    def __init__(self, event_shape: ShapeLike, given: GivenLike | None = None):
        super().__init__(event_shape, given)

        self.net = None
        self.raw = None

    def compute_numbers(self, *given: Tensor) -> Tensor:
        """The numbers `[*batch, numbers]` from which parameters are made."""
        if self.net is not None:
            return self.net(*given).flatten(-len(self.net.out_shape))
        if self.raw is not None:
            return self.raw
        return torch.empty(0)

    def _set_numbers(
        self, net: Builder | nn.Module, out_shape: Shape, layouts: Sequence[Layout]
    ) -> None:
        if self.given_shapes:
            self.net = build(net, self.given_shapes, out_shape)
        elif any(layout.numbers for layout in layouts):
            self.raw = nn.Parameter(torch.cat([layout.start() for layout in layouts]))
