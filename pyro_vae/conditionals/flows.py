"""Normalising flows."""

import math
from collections.abc import Callable

import pyro.distributions as dist
import zuko
from torch import Tensor, nn

from pyro_vae import distributions
from pyro_vae.conditionals.family import Conditional, GivenLike, ShapeLike
from pyro_vae.networks import Builder, build, mlp


class Flow(Conditional):
    """A normalising flow from Zuko, over the reals.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`.
        flow: A class of `zuko.flows` (NSF, MAF, ...), or any callable `(features, context, **options)` that
            returns a module whose call, on the context or None, returns a distribution over vectors.
        net: Builds the network that turns what is given into the flow's context.
        context: How many numbers that is.
        options: Further arguments of `flow`, `transforms=3` or `hidden_features=(64, 64)` for two.

    Example:
        >>> import torch
        >>> q = Flow(2, given=(1, 8, 8), flow=zuko.flows.MAF, transforms=2)
        >>> q
        Flow((2,) | (1, 8, 8), flow=MAF, transforms=2)
        >>> q(torch.zeros(5, 1, 8, 8)).sample().shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        flow: Callable[..., nn.Module] = zuko.flows.NSF,
        net: Builder | nn.Module = mlp,
        *,
        context: int = 64,
        **options,
    ):
        super().__init__(event_shape, given)

        self._options = {"flow": getattr(flow, "__name__", repr(flow)), **options}
        self.net = build(net, self.given_shapes, (context,)) if self.given_shapes else None
        self.flow = flow(math.prod(self.event_shape), context if self.given_shapes else 0, **options)

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        context = self.net(*given) if self.net is not None else None

        return self._checked(distributions.FlowDistribution(self.flow(context), self.event_shape), given)

    def options(self) -> dict[str, object]:
        return self._options
