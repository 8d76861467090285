"""Sequences of which each element depends on the one before."""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints


class Markov(TorchDistribution):
    r"""z_1, ..., z_T, each given the one before, as one event `[T, d]`.

    .. math:: p(z) = \prod_{t \le \mathrm{length}} p(z_t \mid z_{t-1}, c_t)
        \prod_{t > \mathrm{length}} N(z_t; 0, I)

    Beyond the end of a sequence the elements are standard normal. Where p and q are both such, that
    cancels exactly. Every density is then proper, which annealing, refitting and calibration need,
    and nothing is masked. A density scores all steps at once. Only a draw goes step by step.

    Arguments:
        step: From z_{t-1}, `[..., d]`, and c_t, if there is a context, the distribution of z_t.
        start: z_0, `[d]`.
        is_within: Which steps lie within each sequence, `[..., T]`.
        context: c, `[..., T, features]`, or None.

    Example:
        >>> import pyro.distributions as dist
        >>> walk = Markov(
        ...     lambda z: dist.Normal(z, 1.0).to_event(1), torch.zeros(2), torch.ones(5, 3) > 0
        ... )
        >>> walk.sample().shape, walk.log_prob(torch.zeros(5, 3, 2)).shape
        (torch.Size([5, 3, 2]), torch.Size([5]))
    """

    arg_constraints: ClassVar[dict] = {}
    has_rsample = True
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self,
        step: Callable[..., TorchDistribution],
        start: Tensor,
        is_within: Tensor,
        context: Tensor | None = None,
        validate_args: bool | None = None,
    ):
        self.step, self.start = step, start
        self.is_within, self.context = is_within, context
        event = Size((is_within.shape[-1], start.shape[-1]))
        super().__init__(is_within.shape[:-1], event, validate_args=False)

    def expand(self, batch_shape: Size, _instance=None) -> "Markov":
        is_within = self.is_within.expand(*batch_shape, self.is_within.shape[-1])
        return Markov(self.step, self.start, is_within, self.context)

    def log_prob(self, value: Tensor) -> Tensor:
        first = self.start.expand(*value.shape[:-2], 1, value.shape[-1])
        before = torch.cat([first, value[..., :-1, :]], -2)
        within = self.step(*self._list_given(before, self.context)).log_prob(value)
        beyond = -0.5 * (value.square() + math.log(2 * math.pi)).sum(-1)

        return torch.where(self.is_within, within, beyond).sum(-1)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        z = self.start.expand(*sample_shape, *self.batch_shape, self.start.shape[-1])
        drawn = []
        for context, is_within in zip(self._list_contexts(), self._list_within(), strict=True):
            within = self.step(*self._list_given(z, context)).rsample()
            z = torch.where(is_within, within, torch.randn_like(within))
            drawn.append(z)
        return torch.stack(drawn, -2)

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            return self.rsample(sample_shape)

    def _list_contexts(self) -> Sequence[Tensor | None]:
        """The context of each step. Taken apart at once, its gradient is put together at once."""
        if self.context is None:
            return [None] * self.event_shape[0]
        return self.context.unbind(-2)

    def _list_within(self) -> Sequence[Tensor]:
        return self.is_within.unsqueeze(-1).unbind(-2)

    def _list_given(self, before: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        if context is None:
            return (before,)
        return before, context.expand(*before.shape[:-1], context.shape[-1])
