"""Normalising flows."""

import math
from collections.abc import Callable

import pyro.distributions as dist
import zuko
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.arguments import check_function, check_whole
from pyro_vae.conditionals.conditional import Conditional, GivenLike
from pyro_vae.conditionals.family import Family, check_family
from pyro_vae.conditionals.layout import Layout, take_apart
from pyro_vae.conditionals.real import Normal
from pyro_vae.conditionals.shapes import ShapeLike
from pyro_vae.networks import Builder, build, mlp
from pyro_vae.supports import is_real

# steps that leave their input as it is where the last layer of their network returns zeros
IDENTITY_AT_ZERO = (
    zuko.flows.MaskedAutoregressiveTransform,
    zuko.flows.GeneralCouplingTransform,
    zuko.flows.ElementWiseTransform,
)
LINEAR = (nn.Linear, zuko.nn.Linear)


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

    What is given enters every step. Flows of the kinds above start as a normal that the network
    computes from it, as `Normal` does, and at first they hardly change that normal. The published
    IAF does the same. So learning begins where that of `Normal` does. From a fixed normal it is far
    slower.

    Use:
        prior: latents of any shape. `flow=zuko.flows.MAF` and NSF are both quick in density.
        likelihood: few real values with a distribution of any shape.
        variational: where the posterior may have any shape. `flow=pv.IAF` for many latents, NSF for
            few, MAF under a `Vamp`.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`.
        flow: A class of `zuko.flows` (NSF, MAF, ...), or any callable `(features, context,
            **options)` that returns a module. Its call, on the context or None, returns a
            distribution over vectors.
        net: Builds the network that turns what is given into the flow's context and the parameters
            of its base.
        context: How many numbers the context is.
        base: The family over vectors at which a flow of the kinds above starts, where something is
            given. Take `MultivariateNormal` where the correlations are mostly linear.
        options: Further arguments of `flow`, such as `transforms=3` or `hidden_features=(64, 64)`.

    Raises:
        TypeError: if `flow` cannot be called, or `base` is no family.
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

        check_function("flow", flow, "a class of zuko.flows, such as zuko.flows.NSF")
        check_family("base", base)
        context = check_whole("context", context)
        features = math.prod(self.event_shape)
        self._options = _describe(flow, base, options)
        self.context = context if self.given_shapes else 0
        self.flow = flow(features, self.context, **options)
        self.base: Layout | None = None
        self.net = None
        if not self.given_shapes:
            return

        numbers = self.context
        if _starts_at_identity(self.flow):
            self.base = _lay_out_base(base, features)
            numbers += self.base.numbers
            _quieten(self.flow)
            del self.flow.base
        self.net = build(net, self.given_shapes, (numbers,))

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        flow = self._flow_at(*given)

        return self._check_shapes(distributions.FlowDistribution(flow, self.event_shape), given)

    def options(self) -> dict[str, object]:
        return self._options

    def _flow_at(self, *given: Tensor) -> dist.TorchDistribution:
        """The flow over vectors."""
        if self.net is None:
            return self.flow(None)
        if self.base is None:
            return self.flow(self.net(*given))

        context, start = take_apart(self.net(*given), [self.context, self.base.numbers])

        return zuko.distributions.NormalizingFlow(self.flow.transform(context), self.base.at(start))


def IAF(features: int, context: int = 0, **options) -> zuko.lazy.Flow:
    """An inverse autoregressive flow, for `Flow(..., flow=IAF)`: a `zuko.flows.MAF` turned around.

    A draw, with its density, takes one pass. The density of any other value takes as many passes as
    there are features. That is right for q(z | x), where only draws are scored, and slow for a
    prior. (Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling, 2016)

    Arguments:
        features, context: The numbers of both.
        options: Those of `zuko.flows.MAF`: `transforms=3`, `hidden_features=(64, 64)`.

    Example:
        >>> import torch
        >>> IAF(3, 4)(torch.zeros(5, 4)).rsample().shape
        torch.Size([5, 3])
    """
    flow = zuko.flows.MAF(features, context, **options)
    steps = [step.inv for step in flow.transform.transforms]

    return zuko.lazy.Flow(steps, flow.base)


def _find_steps(flow: zuko.lazy.Flow) -> list[nn.Module]:
    """The steps of a flow, those that are turned around as they were before."""
    if not isinstance(flow.transform, zuko.lazy.LazyComposedTransform):
        return []

    steps = []
    for step in flow.transform.transforms:
        is_inverse = isinstance(step, zuko.lazy.LazyInverse)
        steps.append(step.transform if is_inverse else step)
    return steps


def _starts_at_identity(flow: nn.Module) -> bool:
    """Whether its steps, from N(0, I), can be made to change their input hardly at all."""
    if not isinstance(flow, zuko.lazy.Flow):
        return False
    if not isinstance(flow.base(), zuko.distributions.DiagNormal):
        return False
    steps = _find_steps(flow)

    return len(steps) > 0 and all(isinstance(step, IDENTITY_AT_ZERO) for step in steps)


def _quieten(flow: zuko.lazy.Flow) -> None:
    """Let the last layer of each step return numbers near zero at first."""
    for step in _find_steps(flow):
        *_, last = [layer for layer in step.modules() if isinstance(layer, LINEAR)]
        last.weight.data *= 0.01
        nn.init.zeros_(last.bias)


def _lay_out_base(base: type[Family], features: int) -> Layout:
    layout = base.lay_out(features)
    if not is_real(layout.support):
        raise ValueError(
            f"base: expected a family over the reals, Normal or MultivariateNormal, got {base}"
        )

    return layout


def _describe(flow: Callable, base: type[Family], options: dict) -> dict[str, object]:
    described = {"flow": getattr(flow, "__name__", repr(flow))}
    if base is not Normal:
        described["base"] = base.__name__

    return {**described, **options}
