"""Distributions made dimension by dimension."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import pyro.distributions as dist  # noqa: F401  for the example
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints


class Autoregressive(TorchDistribution):
    r"""A distribution made dimension by dimension.

    .. math:: p(a) = \prod_d p(a_d \mid a_{<d})

    Arguments:
        conditionals: Takes values `[*lead, D]` and returns the distribution of every dimension, of
            batch_shape `[*lead, D]`. For dimension d it uses only the values before d.
        batch_shape, event_shape: The shapes. An event has D numbers.

    Example:
        >>> same = Autoregressive(lambda a: dist.Bernoulli(0.5 + 0 * a), Size(), Size([3]))
        >>> same.log_prob(torch.ones(3)).exp()
        tensor(0.1250)
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(
        self,
        conditionals: Callable[[Tensor], TorchDistribution],
        batch_shape: Sequence[int],
        event_shape: Sequence[int],
        validate_args: bool | None = None,
    ):
        self.conditionals = conditionals
        super().__init__(Size(batch_shape), Size(event_shape), validate_args=validate_args)
        self._first = conditionals(torch.zeros((*self.batch_shape, self.event_shape.numel())))

    @property
    def has_rsample(self) -> bool:
        return self._first.has_rsample

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self._first.support, len(self.event_shape))

    def expand(self, batch_shape: Size, _instance=None) -> "Autoregressive":
        return Autoregressive(
            self.conditionals, Size(batch_shape), self.event_shape, validate_args=False
        )

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            return self._draw(Size(sample_shape), lambda p: p.sample())

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return self._draw(Size(sample_shape), lambda p: p.rsample())

    def log_prob(self, value: Tensor) -> Tensor:
        value_lead = value.shape[: value.dim() - len(self.event_shape)]
        lead = torch.broadcast_shapes(value_lead, self.batch_shape)
        numbers = self.event_shape.numel()
        flat = value.expand(lead + self.event_shape).reshape(lead + (numbers,))

        return self.conditionals(flat).log_prob(flat).sum(-1)

    def _draw(self, sample_shape: Size, draw: Callable[[TorchDistribution], Tensor]) -> Tensor:
        lead = sample_shape + self.batch_shape
        numbers = self.event_shape.numel()
        rest = torch.zeros((*lead, numbers), device=draw(self._first).device)

        drawn: list[Tensor] = []
        for d in range(numbers):
            if drawn:
                rest = rest.to(drawn[0].dtype)
            known = torch.cat([*drawn, rest[..., d:]], -1)
            every = draw(self.conditionals(known))
            drawn.append(every[..., d : d + 1])

        return torch.cat(drawn, -1).reshape(lead + self.event_shape)
