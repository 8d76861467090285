"""Priors made of the variational itself, on average over inputs."""

import copy

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.arguments import as_tensor, check_interval, check_type, check_whole
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.conditionals.real import Normal  # noqa: F401  for the examples
from pyro_vae.networks import Shape

# where pseudo-inputs start that are not data, within (0, 1)
START_MEAN, START_STD = 0.05, 0.01


class Vamp(Conditional):
    r"""The variational mixture of posteriors prior (VampPrior), an average of the variational.

    .. math:: p(z) = \sum_k w_k \, q(z \mid u_k), \qquad w_k = 1 / K \text{ unless learned}

    The pseudo-inputs u are learned with the rest. They start at data, `Vamp.from_data(q, x)`. Where
    only their number is given they start near the lower end of `within`, as published. (Tomczak &
    Welling, 2018)

    Use:
        prior: where the prior is to meet q(z): better log p(x), and fewer unused latents.

    Arguments:
        variational: The q(z | x) of the pair, the same object.
        pseudo_inputs: Where u starts, `[K, *event_shape of x]`. Or K, which starts them at
            `low + (high - low) ε`, ε ~ N(0.05, 0.01²).
        learned_weights: Whether w is learned. It starts at 1 / K.
        within: (low, high), the range of x. u is clipped to it wherever it is used. By default it
            is (0, 1) where only K is given, and otherwise u is not clipped.

    Raises:
        TypeError: if the pseudo-inputs are no tensor or array and no whole number, or the
            variational is no conditional.
        ValueError: if the pseudo-inputs have another shape than that q is given, or there are none.
            Also if `within` is no interval.

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
        _check_variational(variational)
        super().__init__(variational.event_shape)

        if within is not None:
            check_interval("within", within)
        if isinstance(pseudo_inputs, Tensor | np.ndarray | list):
            start = as_tensor("pseudo_inputs", pseudo_inputs).detach().clone()
        else:
            within = within or (0, 1)
            start = _draw_start(pseudo_inputs, _find_x_shape(variational), within)
        _check_inputs("pseudo_inputs", start, variational)

        self.within = within
        self.variational = variational
        self.pseudo_inputs = nn.Parameter(start.to(torch.get_default_dtype()))
        self.logits = nn.Parameter(torch.zeros(len(start))) if learned_weights else None

    @classmethod
    def from_data(
        cls, variational: Conditional, x: Tensor, components: int = 500, **options
    ) -> "Vamp":
        """A `Vamp` with pseudo-inputs that start at data, drawn without replacement.

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
        return cls(variational, _draw_rows(x, components, "pseudo-inputs"), **options)

    @property
    def support(self) -> constraints.Constraint | None:
        return self.variational.support

    def forward(self) -> dist.TorchDistribution:
        u, logits = self.pseudo_inputs, self.logits
        if logits is None:
            logits = u.new_zeros(u.shape[0])
        if self.within is not None:
            u = u.clamp(*self.within)
        weights = dist.Categorical(logits=logits)

        return self._check_shapes(distributions.Mixture(weights, self.variational(u)), ())

    def options(self) -> dict[str, object]:
        options: dict[str, object] = {"pseudo_inputs": len(self.pseudo_inputs)}
        if self.logits is not None:
            options["learned_weights"] = True
        if self.within is not None:
            options["within"] = self.within
        return options


class Aggregate(Conditional):
    r"""The aggregate of a trained variational over data, as a prior.

    .. math:: p(z) = q(z) = \frac{1}{N} \sum_i q(z \mid x_i)

    With it, draws of the pair look like data. It takes the place of the prior once the pair is
    trained, `vae.prior = pv.Aggregate(vae.variational, x)`. Of all priors it has the largest mean
    ELBO on x, for that variational and likelihood. It holds x, and a copy of the variational as it
    is then, in eval mode. It learns nothing. It is exact for the data it holds, at the cost of
    encoding all of them at each call. (Hoffman & Johnson, 2016; Tomczak & Welling, 2018)

    Use:
        prior: after training, for draws of the pair that look like data. It is not for comparing
            log p(x) of that data.

    Arguments:
        variational: q(z | x).
        x: Data, `[N, *event]`.
        components: Only so many of the data, drawn without replacement. By default all.

    Raises:
        ValueError: if x has another shape than that q is given, or has fewer rows than components.

    Example:
        >>> q = Normal(2, given=(1, 8, 8))
        >>> Aggregate(q, torch.rand(100, 1, 8, 8), components=50)
        Aggregate((2,), components=50)
    """

    x: Tensor

    def __init__(self, variational: Conditional, x: Tensor, components: int | None = None):
        _check_variational(variational)
        super().__init__(variational.event_shape)

        x = as_tensor("x", x)
        _check_inputs("x", x, variational)
        if components is not None:
            x = _draw_rows(x, components, "components")
        self.register_buffer("x", x.detach().clone().to(torch.get_default_dtype()))
        self.variational = copy.deepcopy(variational).requires_grad_(False)
        self.train(False)

    @property
    def support(self) -> constraints.Constraint | None:
        return self.variational.support

    def train(self, mode: bool = True) -> "Aggregate":
        return super().train(False)

    def forward(self) -> dist.TorchDistribution:
        weights = dist.Categorical(logits=self.x.new_zeros(self.x.shape[0]))

        return self._check_shapes(distributions.Mixture(weights, self.variational(self.x)), ())

    def options(self) -> dict[str, object]:
        return {"components": self.x.shape[0]}


def _draw_start(count: int, shape: Shape, within: tuple[float, float]) -> Tensor:
    count = check_whole("pseudo_inputs", count, least=0)
    low, high = within
    noise = torch.randn(count, *shape)

    return low + (high - low) * (START_MEAN + START_STD * noise)


def _draw_rows(x: Tensor, components: int, what: str) -> Tensor:
    x = as_tensor("x", x)
    components = check_whole("components", components)
    if components > len(x):
        raise ValueError(
            f"components: expected a whole number from 1 to the {len(x)} data given, got "
            f"{components!r}: there cannot be more {what} than data"
        )

    return x[torch.randperm(len(x), device=x.device)[:components]]


def _check_variational(variational: object) -> None:
    expected = "the q(z|x) of the pair, such as pv.Normal(2, given=3)"
    check_type("variational", variational, Conditional, expected)


def _find_x_shape(variational: Conditional) -> Shape:
    if len(variational.given_shapes) != 1:
        raise ValueError(
            "pseudo_inputs: expected a tensor [K, *x] for a variational given one variable, this "
            f"one is given {variational.given_shapes}"
        )
    return variational.given_shapes[0]


def _check_inputs(name: str, x: Tensor, variational: Conditional) -> None:
    expected = variational.given_shapes
    if expected == [tuple(x.shape[1:])] and len(x) > 0:
        return

    raise ValueError(
        f"{name}: expected a tensor [K, *x] for a variational given {expected}, got shape "
        f"{list(x.shape)}"
    )
