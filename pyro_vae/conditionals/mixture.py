"""Mixtures of one family."""

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.arguments import check_whole
from pyro_vae.conditionals.categories import Categorical
from pyro_vae.conditionals.conditional import Conditional, GivenLike
from pyro_vae.conditionals.family import Family, check_family
from pyro_vae.conditionals.shapes import ShapeLike
from pyro_vae.networks import Builder, mlp


class Mixture(Conditional):
    r"""A mixture of any family, with learned weights and components.

    .. math:: p(a \mid b) = \sum_c w_c(b) \, p_c(a \mid b)

    Its draws are reparametrised, the weights included, where the components are normal (diagonal,
    low rank, full) or Laplace, see `distributions.Mixture`. As a variational of another family it
    is for score-function objectives, to which `Trace_ELBO` turns by itself. Free components start
    at random, because equal ones have equal gradients and stay equal. (Figurnov, Mohamed & Mnih,
    2018)

    Use:
        prior: latents that fall in clusters.
        likelihood: data with several likely values, any family.
        variational: where the posterior has several modes. Normal and Laplace components have
            reparametrised draws.

    Arguments:
        family: The family of the components, such as `Normal`.
        event_shape, given: The shapes of a and b, see `Conditional`.
        net: Builds the two networks, of the weights and of the components.
        components: How many.
        options: Options and fixed parameters of the family.

    Raises:
        TypeError: if `family` is none, or the number of components is no whole number.
        ValueError: if there are no components, or a draw of the family has more dimensions than an
            event.

    Example:
        >>> from pyro_vae.conditionals import Normal
        >>> p = Mixture(Normal, 2, components=10)
        >>> p
        Mixture((2,), family=Normal, components=10)
        >>> p().sample((5,)).shape
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

        check_family("family", family)
        components = check_whole("components", components)
        self.weights = Categorical((), given, net, classes=components)
        self.components = family((components, *self.event_shape), given, net, **options)
        if self._example().event_dim > len(self.event_shape):
            raise ValueError(
                f"{family.__name__}: event_shape {self.event_shape} has too few dimensions, an "
                "event of it is a vector"
            )
        if self.components.raw is not None:
            nn.init.normal_(self.components.raw)

    @property
    def support(self) -> constraints.Constraint:
        p = self._example()
        return p.to_event(len(self.event_shape) - p.event_dim).support

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        w, p = self.weights(*given), self.components(*given)

        return self._check_shapes(distributions.Mixture(w, p.to_event(-1)), given)

    def options(self) -> dict[str, object]:
        family = {"family": type(self.components).__name__}
        components = {"components": self.components.event_shape[0]}

        return {**family, **components, **self.components.options()}

    def _example(self) -> dist.TorchDistribution:
        return self.components.layout.example()
