"""Mixtures: of any family, and of the variational itself."""

import copy
import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.conditionals.family import Conditional, Family, GivenLike, ShapeLike
from pyro_vae.conditionals.table import Categorical, Normal  # noqa: F401
from pyro_vae.networks import Builder, mlp


class Mixture(Conditional):
    r"""A mixture of any family, with learned weights and components.

    .. math:: p(a \mid b) = \sum_c w_c(b) \, p_c(a \mid b)

    Its draws are reparametrised, the weights included, where the components are normal (diagonal,
    low rank, full) or Laplace (`distributions.Mixture`); as a variational of another family it is
    for score-function objectives, to which `Trace_ELBO` turns by itself. Free components start at
    random, for equal ones would have equal gradients for ever. (Figurnov, Mohamed & Mnih, 2018)

    Use:
        prior: latents that fall in clusters.
        likelihood: data with several likely values, any family.
        variational: a posterior with several modes; normal and Laplace components have
            reparametrised draws.

    Arguments:
        family: The family of the components, `Normal` for one.
        event_shape, given: The shapes of a and b, see `Conditional`.
        net: Builds the two networks, of the weights and of the components.
        components: How many.
        options: Options and fixed parameters of the family.

    Raises:
        ValueError: if there are no components, or a draw of the family has more dimensions than an
            event.

    Example:
        >>> Mixture(Normal, 2, components=10)
        Mixture((2,), family=Normal, components=10)
        >>> Mixture(Normal, 2, components=10)().sample((5,)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        family: type[Family],
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        net: Builder = mlp,
        *,
        components: int,
        **options: float | Tensor,
    ):
        super().__init__(event_shape, given)

        if not isinstance(components, int) or components < 1:
            raise ValueError(f"components: expected a positive whole number, got {components!r}")
        self.weights = Categorical((), given, net, classes=components)
        self.components = family((components, *self.event_shape), given, net, **options)
        if self.components.example().event_dim > len(self.event_shape):
            raise ValueError(
                f"{family.__name__}: event_shape {self.event_shape} has too few dimensions, an event of it is a vector"
            )
        if self.components.raw is not None:
            nn.init.normal_(self.components.raw)

    @property
    def support(self) -> constraints.Constraint:
        p = self.components.example()
        return p.to_event(len(self.event_shape) - p.event_dim).support

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        w, p = self.weights(*given), self.components(*given)

        return self._checked(distributions.Mixture(w, p.to_event(-1)), given)

    def options(self) -> dict[str, object]:
        inner = self.components
        return {
            "family": type(inner).__name__,
            "components": inner.event_shape[0],
            **inner.options(),
        }


class Vamp(Conditional):
    r"""The variational mixture of posteriors prior (VampPrior): the variational's own average over
    pseudo-inputs.

    .. math:: p(z) = \sum_k w_k \, q(z \mid u_k), \qquad w_k = 1 / K \text{ unless learned}

    The pseudo-inputs u are learned with the rest. They start at data, `Vamp.from_data(q, x)`, or,
    where only their number is given, near the lower end of `within`, as published. (Tomczak &
    Welling, 2018)

    Use:
        prior: where q(z) shall be met by the prior: better log p(x), and fewer unused latents.

    Arguments:
        variational: The q(z | x) of the pair, the same object.
        pseudo_inputs: Where u starts, `[K, *event_shape of x]`; or K, which starts them at
            `low + (high - low) ε`, ε ~ N(0.05, 0.01²).
        learned_weights: Whether w is learned; it starts at 1 / K.
        within: (low, high), to which u is clipped wherever it is used: the range of x. By default
            (0, 1) where only K is given, otherwise there is none.

    Raises:
        ValueError: if the pseudo-inputs have another shape than that q is given, or there are none;
            if `within` is no interval.

    Example:
        >>> q = Normal(2, given=(1, 8, 8))
        >>> Vamp(q, torch.rand(50, 1, 8, 8))
        Vamp((2,), pseudo_inputs=50)
        >>> Vamp(q, 50, learned_weights=True)
        Vamp((2,), pseudo_inputs=50, learned_weights=True, within=(0, 1))
    """

    def __init__(
        self,
        variational: Conditional,
        pseudo_inputs: Tensor | int,
        *,
        learned_weights: bool = False,
        within: tuple[float, float] | None = None,
    ):
        super().__init__(variational.event_shape)

        free = isinstance(pseudo_inputs, int) and not isinstance(pseudo_inputs, bool)
        self.within = (0, 1) if free and within is None else within
        if self.within is not None and not -math.inf < self.within[0] < self.within[1] < math.inf:
            raise ValueError(
                f"within: expected two finite numbers (low, high), the lower first, got {within}"
            )
        if free:
            shape = _given_x(variational, "pseudo_inputs")
            low, high = self.within
            pseudo_inputs = low + (high - low) * (
                0.05 + 0.01 * torch.randn(max(0, pseudo_inputs), *shape)
            )
        _check_inputs(variational, pseudo_inputs, "pseudo_inputs")
        self.variational = variational
        self.pseudo_inputs = nn.Parameter(
            pseudo_inputs.detach().clone().to(torch.get_default_dtype())
        )
        self.logits = nn.Parameter(torch.zeros(len(pseudo_inputs))) if learned_weights else None

    @classmethod
    def from_data(
        cls, variational: Conditional, x: Tensor, components: int = 500, **options
    ) -> "Vamp":
        """A `Vamp` whose pseudo-inputs start at data, drawn without replacement.

        Arguments:
            variational: The q(z | x) of the pair, the same object.
            x: Data, `[n, *event]`.
            components: K, at most n.
            options: `learned_weights` and `within`.

        Raises:
            ValueError: if there are more pseudo-inputs than data.

        Example:
            >>> Vamp.from_data(Normal(2, given=(1, 8, 8)), torch.rand(100, 1, 8, 8), components=50)
            Vamp((2,), pseudo_inputs=50)
        """
        return cls(variational, _subset(x, components, "pseudo-inputs"), **options)

    @property
    def support(self) -> constraints.Constraint | None:
        return self.variational.support

    def forward(self) -> dist.TorchDistribution:
        u = self.pseudo_inputs if self.within is None else self.pseudo_inputs.clamp(*self.within)
        logits = self.pseudo_inputs.new_zeros(u.shape[0]) if self.logits is None else self.logits

        return self._checked(
            distributions.Mixture(dist.Categorical(logits=logits), self.variational(u)), ()
        )

    def options(self) -> dict[str, object]:
        options: dict[str, object] = {"pseudo_inputs": len(self.pseudo_inputs)}
        if self.logits is not None:
            options["learned_weights"] = True
        return options if self.within is None else {**options, "within": self.within}


class Aggregate(Conditional):
    r"""The aggregate of a trained variational over data, as a prior: with it, draws of the pair
    look like data.

    .. math:: p(z) = q(z) = \frac{1}{N} \sum_i q(z \mid x_i)

    It is set in place of the prior once the pair is trained, `vae.prior =
    pv.Aggregate(vae.variational, x)`: of all priors the one with the largest mean ELBO on x, for
    that variational and likelihood. It holds a copy of the variational as it is then, in eval mode,
    and x, and learns nothing; exact for the data it holds, at the cost of encoding all of them at
    each call. (Hoffman & Johnson, 2016; Tomczak & Welling, 2018)

    Use:
        prior: after training: draws of the pair that look like data; not for comparing log p(x) of
            that data.

    Arguments:
        variational: q(z | x).
        x: Data, `[N, *event]`.
        components: Only so many of the data, drawn without replacement; by default all.

    Raises:
        ValueError: if x has another shape than that q is given, or has fewer rows than components.

    Example:
        >>> q = Normal(2, given=(1, 8, 8))
        >>> Aggregate(q, torch.rand(100, 1, 8, 8), components=50)
        Aggregate((2,), components=50)
    """

    x: Tensor

    def __init__(self, variational: Conditional, x: Tensor, components: int | None = None):
        super().__init__(variational.event_shape)

        _check_inputs(variational, x, "x")
        x = x if components is None else _subset(x, components, "components")
        self.register_buffer("x", x.detach().clone().to(torch.get_default_dtype()))
        self.variational = copy.deepcopy(variational).requires_grad_(False)
        self.train(False)

    @property
    def support(self) -> constraints.Constraint | None:
        return self.variational.support

    def train(self, mode: bool = True) -> "Aggregate":
        return super().train(False)

    def forward(self) -> dist.TorchDistribution:
        w = dist.Categorical(logits=self.x.new_zeros(self.x.shape[0]))

        return self._checked(distributions.Mixture(w, self.variational(self.x)), ())

    def options(self) -> dict[str, object]:
        return {"components": self.x.shape[0]}


def _given_x(variational: Conditional, name: str) -> tuple[int, ...]:
    if len(variational.given_shapes) != 1:
        raise ValueError(
            f"{name}: expected a tensor [K, *x] for a variational given one variable, this one is given "
            f"{variational.given_shapes}"
        )
    return variational.given_shapes[0]


def _check_inputs(variational: Conditional, x: Tensor, name: str) -> None:
    expected = variational.given_shapes
    if len(expected) != 1 or tuple(x.shape[1:]) != expected[0] or not len(x):
        raise ValueError(
            f"{name}: expected a tensor [K, *x] for a variational given {expected}, got shape {list(x.shape)}"
        )


def _subset(x: Tensor, components: int, what: str) -> Tensor:
    if not isinstance(components, int) or not 1 <= components <= len(x):
        raise ValueError(
            f"components: expected a whole number from 1 to the {len(x)} data given, got {components!r}: there "
            f"cannot be more {what} than data"
        )
    return x[torch.randperm(len(x), device=x.device)[:components]]
