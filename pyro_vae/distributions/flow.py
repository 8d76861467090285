"""Flows as Pyro distributions."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints


class FlowDistribution(TorchDistribution):
    """A Zuko flow over vectors, as a Pyro distribution of any event shape.

    It keeps the log density of its last draw, which a flow computes on the way.

    Arguments:
        flow: A distribution over vectors, such as `zuko.flows.NSF(...)(context)`.
        event_shape: The shape of an event, of as many numbers as the vector.
    """

    arg_constraints: ClassVar[dict] = {}
    has_rsample = True

    def __init__(
        self,
        flow: torch.distributions.Distribution,
        event_shape: Sequence[int],
        validate_args: bool | None = None,
    ):
        self.flow = flow
        self._last: tuple = (None, None, False)
        super().__init__(flow.batch_shape, Size(event_shape), validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Size, _instance=None) -> "FlowDistribution":
        return FlowDistribution(self.flow.expand(Size(batch_shape)), self.event_shape)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        vector, log_q = self.flow.rsample_and_log_prob(Size(sample_shape))
        z = vector.reshape(vector.shape[:-1] + self.event_shape)
        self._last = (z, log_q, torch.is_grad_enabled())

        return z

    def log_prob(self, value: Tensor) -> Tensor:
        z, log_q, with_grad = self._last
        if value is z and (with_grad or not torch.is_grad_enabled()):
            return log_q

        value_lead = value.shape[: value.dim() - len(self.event_shape)]
        lead = torch.broadcast_shapes(value_lead, self.batch_shape)
        # some of Zuko's transforms do not broadcast a value against their context
        vector = value.expand(lead + self.event_shape).reshape(*lead, -1)

        return self.flow.log_prob(vector)
