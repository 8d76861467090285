"""Normalising flows."""

import math
from collections.abc import Callable

import pyro.distributions as dist
import zuko
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.conditionals.family import Conditional, Family, GivenLike, ShapeLike
from pyro_vae.conditionals.table import Normal
from pyro_vae.networks import Builder, build, mlp
from pyro_vae.supports import elementwise

_NO_CHANGE_AT_ZERO = (
    zuko.flows.MaskedAutoregressiveTransform,
    zuko.flows.GeneralCouplingTransform,
    zuko.flows.ElementWiseTransform,
)


def IAF(features: int, context: int = 0, **options) -> zuko.lazy.Flow:
    """An inverse autoregressive flow, for `Flow(..., flow=IAF)`: a `zuko.flows.MAF` the other way round.

    A draw, with its density, takes one pass, the density of any other value as many as there are
    features: right for q(z | x), where only draws are scored, and slow for a prior. (Kingma,
    Salimans, Jozefowicz, Chen, Sutskever & Welling, 2016)

    Arguments:
        features, context: The numbers of both.
        options: Those of `zuko.flows.MAF`: `transforms=3`, `hidden_features=(64, 64)`.

    Example:
        >>> import torch
        >>> IAF(3, 4)(torch.zeros(5, 4)).rsample().shape
        torch.Size([5, 3])
    """
    flow = zuko.flows.MAF(features, context, **options)
    return zuko.lazy.Flow([t.inv for t in flow.transform.transforms], flow.base)


def _hushed(flow: nn.Module) -> bool:
    """Let the steps of a flow from N(0, I) change their input hardly at first, if numbers near zero do that to them."""
    if not isinstance(flow, zuko.lazy.Flow) or not isinstance(
        flow.base(), zuko.distributions.DiagNormal
    ):
        return False
    steps = [getattr(step, "transform", step) for step in getattr(flow.transform, "transforms", [])]
    if not steps or not all(isinstance(step, _NO_CHANGE_AT_ZERO) for step in steps):
        return False
    for step in steps:
        last = [layer for layer in step.modules() if hasattr(layer, "weight")][-1]
        last.weight.data *= 0.01
        nn.init.zeros_(last.bias)
    return True


class Flow(Conditional):
    r"""A normalising flow from Zuko, over the reals.

    .. math:: \log p(a) = \log N(f(a); 0, I) + \log |\det \partial f / \partial a|

    (Rezende & Mohamed, 2015) Each kind is one argument:

    - `flow=zuko.flows.NSF` (the default): autoregressive splines (Durkan, Bekasov, Murray &
      Papamakarios, 2019)
    - `flow=zuko.flows.NSF, passes=2`: the same as couplings, one pass either way
    - `flow=zuko.flows.MAF`: masked autoregressive, fast density (Papamakarios, Pavlakou & Murray,
      2017)
    - `flow=pv.IAF`: inverse autoregressive, fast draws (Kingma et al., 2016)
    - `flow=zuko.flows.RealNVP`: affine couplings (Dinh, Sohl-Dickstein & Bengio, 2017)

    What is given enters every step, and those of the kinds above start as a normal that the network
    computes from it as for `Normal`, which they hardly change at first, as the published IAF does:
    learning begins where that of `Normal` does. From a fixed normal it is far slower.

    Use:
        prior: latents of any shape; `flow=zuko.flows.MAF` or NSF, both quick in density.
        likelihood: few real values with a distribution of any shape.
        variational: a posterior of any shape: `flow=pv.IAF` for many latents, NSF for few, MAF
            under a `Vamp`.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`.
        flow: A class of `zuko.flows` (NSF, MAF, ...), or any callable `(features, context,
            **options)` that returns a module whose call, on the context or None, returns a
            distribution over vectors.
        net: Builds the network that turns what is given into the flow's context and the parameters
            of its base.
        context: How many numbers the former is.
        base: The family over vectors at which it starts where something is given, if of a kind
            above; `MultivariateNormal` where the correlations are linear in the main.
        options: Further arguments of `flow`, `transforms=3` or `hidden_features=(64, 64)` for two.

    Raises:
        ValueError: if `base` is not over the reals.

    Example:
        >>> import torch
        >>> q = Flow(2, given=(1, 8, 8), flow=zuko.flows.MAF, transforms=2)
        >>> q
        Flow((2,) | (1, 8, 8), flow=MAF, transforms=2)
        >>> q(torch.zeros(5, 1, 8, 8)).sample().shape
        torch.Size([5, 2])
        >>> import pyro_vae as pv
        >>> Flow(20, given=(1, 8, 8), flow=IAF, base=pv.MultivariateNormal)
        Flow((20,) | (1, 8, 8), flow=IAF, base=MultivariateNormal)
    """

    def __init__(
        self,
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        flow: Callable[..., nn.Module] = zuko.flows.NSF,
        net: Builder | nn.Module = mlp,
        *,
        context: int = 64,
        base: type[Family] = Normal,
        **options,
    ):
        super().__init__(event_shape, given)

        made_of = {"flow": flow} | ({} if base is Normal else {"base": base})
        self._options = {
            key: getattr(made, "__name__", repr(made)) for key, made in made_of.items()
        } | options
        self.net, self.base = None, None
        features, context = math.prod(self.event_shape), context if self.given_shapes else 0
        self.flow = flow(features, context, **options)
        if self.given_shapes:
            self._sizes = [context]
            if _hushed(self.flow):
                self.base = base(features)
                if elementwise(self.base.support) is not constraints.real:
                    raise ValueError(
                        f"base: expected a family over the reals, Normal or MultivariateNormal, got {base}"
                    )
                self._sizes.append(self.base.raw.numel())
                self.base.raw = None
                del self.flow.base
            self.net = build(net, self.given_shapes, (sum(self._sizes),))

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        if self.net is None:
            flow = self.flow(None)
        else:
            context, *start = self.net(*given).split(self._sizes, -1)
            if start:
                flow = zuko.distributions.NormalizingFlow(
                    self.flow.transform(context), self.base.at(*start)
                )
            else:
                flow = self.flow(context)

        return self._checked(distributions.FlowDistribution(flow, self.event_shape), given)

    def options(self) -> dict[str, object]:
        return self._options
