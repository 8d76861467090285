"""Families made dimension by dimension."""

import functools
import math

import pyro.distributions as dist
import torch
import zuko
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.arguments import check_sizes, check_whole
from pyro_vae.conditionals.conditional import Conditional, GivenLike
from pyro_vae.conditionals.family import Family, check_family
from pyro_vae.conditionals.layout import Layout
from pyro_vae.conditionals.shapes import ShapeLike
from pyro_vae.networks import Builder, build, mlp


class Autoregressive(Conditional):
    r"""Any family of single numbers, made dimension by dimension by a masked network.

    .. math:: p(a \mid b) = \prod_d p(a_d \mid a_{<d}, b)

    It is exact in density. A draw takes one pass of the network per dimension. Over discrete a it
    is the prior that an independent `Bernoulli` or `Categorical` cannot be. Over the reals see also
    `Flow` with `zuko.flows.MAF`. (Larochelle & Murray, 2011; Germain, Gregor, Murray & Larochelle,
    2015)

    Use:
        prior: discrete latents that depend on each other.
        likelihood: data with entries that depend on each other given z. It can learn to ignore z.
        variational: discrete latents that depend on each other, without reparametrised draws.

    Arguments:
        family: The family of a single number, such as `Bernoulli`.
        event_shape, given: The shapes of a and b, see `Conditional`. Dimensions follow each other
            in memory order.
        net: Builds the network that turns what is given into the masked network's context.
        context: How many numbers the context is.
        hidden: The widths of the masked network's hidden layers.
        options: Options and fixed parameters of the family.

    Raises:
        TypeError: if `family` is none, or a width is no whole number.
        ValueError: if a single draw of the family is a vector, or all its parameters are fixed.

    Example:
        >>> from pyro_vae.conditionals import Categorical
        >>> p = Autoregressive(Categorical, 3, classes=10)
        >>> p
        Autoregressive((3,), family=Categorical, classes=10)
        >>> p().sample((5,)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        family: type[Family],
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        net: Builder | nn.Module = mlp,
        *,
        context: int = 64,
        hidden: tuple[int, ...] = (64, 64),
        **options: float | Tensor,
    ):
        super().__init__(event_shape, given)

        check_family("family", family)
        context = check_whole("context", context)
        hidden = check_sizes("hidden", hidden)
        dimensions = math.prod(self.event_shape)
        self.layout = family.lay_out(dimensions, **options)
        _check_single(self.layout)
        self.net = None
        if self.given_shapes:
            self.net = build(net, self.given_shapes, (context,))
        else:
            # the context is a one, or else the first dimension would see no input at all
            context = 1
        self.values = _count_values(self.layout.example().support)

        of_input = torch.arange(dimensions).repeat_interleave(self.values or 1)
        of_output = self.layout.find_entries()
        sees_values = of_input < of_output.unsqueeze(-1)
        sees_context = torch.ones(len(of_output), context, dtype=torch.bool)
        self.masked = zuko.nn.MaskedMLP(torch.cat([sees_values, sees_context], -1), hidden)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.layout.example().support, len(self.event_shape))

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        if self.net is None:
            context = next(self.masked.parameters()).new_ones(1)
        else:
            context = self.net(*given)
        conditionals = functools.partial(self._conditionals, context)
        p = distributions.Autoregressive(conditionals, context.shape[:-1], self.event_shape)

        return self._check_shapes(p, given)

    def options(self) -> dict[str, object]:
        return {"family": self.layout.family.__name__, **self.layout.options()}

    def _conditionals(self, context: Tensor, a: Tensor) -> dist.TorchDistribution:
        """The distribution of each dimension of a, given those before it."""
        weight = next(self.masked.parameters())

        a = a.to(weight)
        if self.values is not None:
            one_hot = a.unsqueeze(-1) == torch.arange(self.values, device=a.device)
            a = one_hot.to(weight).flatten(-2)
        everywhere = context.expand(*a.shape[:-1], context.shape[-1])
        numbers = self.masked(torch.cat([a, everywhere], -1))

        return self.layout.entries_at(numbers)


def _check_single(layout: Layout) -> None:
    name = layout.family.__name__
    if layout.example().event_dim:
        raise ValueError(
            f"family: expected one whose draw is a single number, {name} draws vectors; take "
            "pv.Normal, pv.Bernoulli or pv.Categorical"
        )
    if not layout.numbers:
        raise ValueError(f"{name}: every parameter is fixed, so no dimension depends on another")


def _count_values(support: constraints.Constraint) -> int | None:
    """How many values a network sees as one-hot vectors. None: it sees the number itself."""
    is_levels = isinstance(support, constraints.integer_interval)
    if not is_levels or support is constraints.boolean:
        return None

    most = torch.as_tensor(support.upper_bound).max()  # the bounds of entries may differ

    return int(most) + 1
