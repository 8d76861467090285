"""Mixtures: of any family, and of the variational itself."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae import distributions
from pyro_vae.conditionals.family import Conditional, Family, GivenLike, ShapeLike
from pyro_vae.conditionals.table import Categorical, Normal  # noqa: F401
from pyro_vae.networks import Builder, mlp


class Mixture(Conditional):
    r"""A mixture of any family, with learned weights and components.

    .. math:: p(a \mid b) = \sum_c w_c(b) \, p_c(a \mid b)

    It has no reparametrised draws: as a variational it is for score-function objectives, to which `Trace_ELBO`
    turns by itself. Free components start at random, for equal ones would have equal gradients for ever.

    Arguments:
        family: The family of the components, `Normal` for one.
        event_shape, given: The shapes of a and b, see `Conditional`.
        net: Builds the two networks, of the weights and of the components.
        components: How many.
        options: Options and fixed parameters of the family.

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
        if self.components.raw is not None:
            nn.init.normal_(self.components.raw)

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        w, p = self.weights(*given), self.components(*given)

        return self._checked(distributions.Mixture(w, p.to_event(-1)), given)

    def options(self) -> dict[str, object]:
        inner = self.components
        return {"family": type(inner).__name__, "components": inner.event_shape[0], **inner.options()}


class Vamp(Conditional):
    r"""The variational mixture of posteriors prior (VampPrior): the variational's own average over pseudo-inputs.

    .. math:: p(z) = \frac{1}{K} \sum_k q(z \mid u_k)

    The pseudo-inputs u are learned with the rest; start them at data. (Tomczak & Welling, 2018)

    Arguments:
        variational: The q(z | x) of the pair, the same object.
        pseudo_inputs: Where u starts, `[K, *event_shape of x]`.

    Raises:
        ValueError: if the pseudo-inputs have another shape than that q is given, or there are none.

    Example:
        >>> q = Normal(2, given=(1, 8, 8))
        >>> Vamp(q, torch.rand(50, 1, 8, 8))
        Vamp((2,), pseudo_inputs=50)
    """

    def __init__(self, variational: Conditional, pseudo_inputs: Tensor):
        super().__init__(variational.event_shape)

        expected = variational.given_shapes
        if len(expected) != 1 or tuple(pseudo_inputs.shape[1:]) != expected[0] or not len(pseudo_inputs):
            raise ValueError(
                f"pseudo_inputs: expected a tensor [K, *x] for a variational given {expected}, "
                f"got shape {list(pseudo_inputs.shape)}"
            )
        self.variational = variational
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.detach().clone().to(torch.get_default_dtype()))

    def forward(self) -> dist.TorchDistribution:
        q = self.variational(self.pseudo_inputs)
        w = dist.Categorical(logits=self.pseudo_inputs.new_zeros(len(self.pseudo_inputs)))

        return self._checked(distributions.Mixture(w, q), ())

    def options(self) -> dict[str, object]:
        return {"pseudo_inputs": len(self.pseudo_inputs)}
