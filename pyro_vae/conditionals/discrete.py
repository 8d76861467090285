"""Relaxations of discrete latents, and families made dimension by dimension."""

import math

import pyro.distributions as dist
import torch
import zuko
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.conditionals.family import Conditional, Family, GivenLike, ShapeLike, family
from pyro_vae.conditionals.table import Bernoulli, Categorical  # noqa: F401
from pyro_vae.networks import Builder, build, mlp


class _Relaxed(Family):
    """A family with a temperature: a buffer, which a schedule may set."""

    def __init__(
        self,
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        net: Builder | nn.Module = mlp,
        *,
        temperature: float,
        **fixed: float | Tensor,
    ):
        super().__init__(event_shape, given, net, **fixed)

        self.register_buffer("_temperature", torch.ones(()))
        self.temperature = temperature

    @property
    def temperature(self) -> Tensor:
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not 0 < float(value) < math.inf:
            raise ValueError(f"temperature: expected a positive, finite number, got {value}")
        self._temperature.fill_(float(value))

    def parametrise(self, raw: Tensor) -> dict[str, Tensor]:
        return {
            "temperature": getattr(self, "_temperature", torch.ones(())),
            **super().parametrise(raw),
        }

    def options(self) -> dict[str, object]:
        return {**super().options(), "temperature": round(self.temperature.item(), 4)}


class RelaxedCategorical(
    _Relaxed,
    family(distributions.RelaxedOneHotCategorical, logits=lambda event: (*event[:-1], event[-1])),
):
    r"""p(a | b), a one-hot categorical relaxed to the simplex (Gumbel-softmax, concrete), so that
    draws have gradients.

    .. math:: a_k = \frac{e^{(\ell_k + g_k) / \tau}}{\sum_j e^{(\ell_j + g_j) / \tau}}, \qquad g_k
    \sim \mathrm{Gumbel}

    As the temperature τ falls to 0 the draws become one-hot. A density on the simplex needs one for
    a prior: the same family, `RelaxedCategorical(K, logits=0.0, temperature=...)`, not a
    `OneHotCategorical`, whose bound on log p(x) would be none. `q.temperature = 0.5` changes it,
    between epochs for one; below about 0.1 float32 can no longer tell the corners apart. (Maddison,
    Mnih & Teh, 2017; Jang, Gu & Poole, 2017)

    Use:
        prior: for a relaxed q, at the same temperature.
        variational: a discrete latent trained by reparametrised draws, at the price of a relaxed
            model.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`; the last dimension is the
            classes.
        net: Builds the network, see `networks`.
        temperature: τ, above 0.
        fixed: `logits`, to fix them.

    Raises:
        ValueError: if the temperature is not positive and finite.

    Example:
        >>> q = RelaxedCategorical(10, given=(1, 28, 28), temperature=1.0)
        >>> q.temperature = 0.5
        >>> q
        RelaxedCategorical((10,) | (1, 28, 28), temperature=0.5)
    """


class RelaxedBernoulli(_Relaxed, family(distributions.RelaxedBernoulli, "logits")):
    r"""p(a | b), Bernoullis relaxed to (0, 1), so that draws have gradients.

    .. math:: a = \sigma((\ell + u) / \tau), \qquad u \sim \mathrm{Logistic}(0, 1)

    Its prior is of the same family, `RelaxedBernoulli(D, logits=0.0, temperature=...)`; see
    `RelaxedCategorical`. (Maddison, Mnih & Teh, 2017)

    Use:
        prior: for a relaxed q, at the same temperature.
        variational: binary latents trained by reparametrised draws, at the price of a relaxed
            model.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`.
        net: Builds the network, see `networks`.
        temperature: τ, above 0.
        fixed: `logits`, to fix them.

    Raises:
        ValueError: if the temperature is not positive and finite.

    Example:
        >>> RelaxedBernoulli(20, given=(1, 28, 28), temperature=0.5)
        RelaxedBernoulli((20,) | (1, 28, 28), temperature=0.5)
    """


class Autoregressive(Conditional):
    r"""Any family of single numbers, made dimension by dimension by a masked network.

    .. math:: p(a \mid b) = \prod_d p(a_d \mid a_{<d}, b)

    Exact in density; a draw takes one pass of the network per dimension. Over discrete a it is the
    prior that an independent `Bernoulli` or `Categorical` cannot be; over the reals see also `Flow`
    with `zuko.flows.MAF`. (Larochelle & Murray, 2011; Germain, Gregor, Murray & Larochelle, 2015)

    Use:
        prior: discrete latents that depend on each other.
        likelihood: data whose entries depend on each other given z; it can learn to ignore z.
        variational: discrete latents that depend on each other, without reparametrised draws.

    Arguments:
        family: The family of a single number, `Bernoulli` for one.
        event_shape, given: The shapes of a and b, see `Conditional`; dimensions follow each other
            in memory order.
        net: Builds the network that turns what is given into the masked network's context.
        context: How many numbers that is.
        hidden: The widths of the masked network's hidden layers.
        options: Options and fixed parameters of the family.

    Raises:
        ValueError: if a single draw of the family is a vector, or all its parameters are fixed.

    Example:
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

        numbers = math.prod(self.event_shape)
        self.family = family(numbers, **options)
        one = self.family.example()
        if one.event_dim:
            raise ValueError(
                f"family: expected one whose draw is a single number, {family.__name__} draws vectors; take "
                "pv.Normal, pv.Bernoulli or pv.Categorical"
            )
        if self.family.raw is None:
            raise ValueError(
                f"{family.__name__}: every parameter is fixed, so no dimension depends on another"
            )
        self.family.raw = None
        self.net = build(net, self.given_shapes, (context,)) if self.given_shapes else None

        support = one.support
        bounded = isinstance(support, constraints.integer_interval)
        self.values = (
            int(support.upper_bound) + 1 if bounded and support is not constraints.boolean else None
        )
        of_output = torch.cat(
            [
                torch.arange(math.prod(s)) % numbers
                for k, s in self.family.shapes.items()
                if k not in self.family.fixed
            ]
        )
        of_input = torch.arange(numbers).repeat_interleave(self.values or 1)
        seen = of_input < of_output.unsqueeze(-1)
        # where nothing is given, the context is a one, lest the first dimension see no input at all
        context = context if self.given_shapes else 1
        seen = torch.cat([seen, torch.ones(len(seen), context, dtype=torch.bool)], -1)
        self.masked = zuko.nn.MaskedMLP(seen, hidden)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.family.example().support, len(self.event_shape))

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        weight = next(self.masked.parameters())
        context = weight.new_ones(1) if self.net is None else self.net(*given)

        def conditionals(a: Tensor) -> dist.TorchDistribution:
            a = a.to(weight)
            if self.values is not None:
                a = (
                    (a.unsqueeze(-1) == torch.arange(self.values, device=a.device))
                    .to(weight)
                    .flatten(-2)
                )
            a = torch.cat([a, context.expand(*a.shape[:-1], context.shape[-1])], -1)
            return self.family.distribution(**self.family.parametrise(self.masked(a)))

        return self._checked(
            distributions.Autoregressive(conditionals, context.shape[:-1], self.event_shape), given
        )

    def options(self) -> dict[str, object]:
        return {"family": type(self.family).__name__, **self.family.options()}
