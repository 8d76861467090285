"""ELBOs that run a pair's handlers once and then compiled code."""

import warnings
import weakref
from collections.abc import Callable, Iterable

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.arguments import check_methods
from pyro_vae.compiling.loss import CompiledLoss, cuda_devices
from pyro_vae.objectives.schedules import Scheduled
from pyro_vae.objectives.trace_elbo import TensorTraceELBO, take_options
from pyro_vae.objectives.weighted import AnalyticKL
from pyro_vae.pairs.parameters import find_modules


class Compiled(ELBO):
    """An ELBO for stock `SVI` or for `Objective` that runs compiled code.

    It runs a pair's handlers once and compiles what is left. So the first step takes some seconds.
    `CompiledLoss` says what is noticed later, and what is not.

    Arguments:
        elbo: `Trace_ELBO()`, or any of this package's.

    Raises:
        TypeError: if the ELBO cannot be compiled.
        RuntimeError: at a step, if the pair cannot be compiled, with the line at fault.
    """

    def __init__(self, elbo: ELBO):
        check_methods("elbo", elbo, ["differentiable_loss"], "an object such as Trace_ELBO()")
        self.elbo = as_exportable(elbo)
        self._losses: dict[tuple, tuple[CompiledLoss, dict[str, Tensor]]] = {}

    def differentiable_loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Tensor:
        """The loss, a scalar tensor with gradients."""
        loss, parameters = self._find_loss(model, guide, args, kwargs)
        _announce(parameters)

        return loss(*args, **kwargs)

    def loss(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        value = loss.item()
        if value != value:
            warnings.warn("the loss is NaN", stacklevel=2)
        return value

    def _get_trace(self, model, guide, args, kwargs):
        return self.elbo._get_trace(model, guide, args, kwargs)

    def _find_loss(self, model, guide, args, kwargs) -> tuple[CompiledLoss, dict[str, Tensor]]:
        known = self._losses.get((model, guide))
        if known is None or _is_forgotten(known[1]):
            known = self._make_loss(model, guide, args, kwargs)
            self._losses[model, guide] = known
        return known

    def _make_loss(self, model, guide, args, kwargs) -> tuple[CompiledLoss, dict[str, Tensor]]:
        sites = self._discover(model, guide, args, kwargs)
        modules = _find_all_modules(model, guide)
        owned = {id(p) for module in modules for p in module.parameters()}
        parameters = {name: site["value"].unconstrained() for name, site in sites.items()}
        bare = {}
        for name, leaf in parameters.items():
            leaf.unconstrained = weakref.ref(leaf)
            if id(leaf) not in owned:
                bare[name] = (leaf, sites[name]["kwargs"].get("constraint", constraints.real))

        def loss(*args, **kwargs):
            return self.elbo.differentiable_loss(model, guide, *args, **kwargs)

        advance = self.elbo.advance if isinstance(self.elbo, Scheduled) else None
        return CompiledLoss(loss, modules, bare, before=advance), parameters

    def _discover(self, model, guide, args, kwargs) -> dict[str, dict]:
        """Run the pair once, as Pyro would, to find and register all that it learns."""
        devices = cuda_devices([a for a in args if isinstance(a, Tensor)])
        with torch.random.fork_rng(devices=devices), torch.no_grad(), poutine.block():
            with poutine.trace(param_only=True) as found:
                draws = poutine.trace(guide).get_trace(*args, **kwargs)
                poutine.replay(model, trace=draws)(*args, **kwargs)
            if self.elbo.vectorize_particles and self.elbo.max_plate_nesting == float("inf"):
                self.elbo._guess_max_plate_nesting(model, guide, args, kwargs)
        return dict(found.trace.nodes)


class CompiledTrace_ELBO(Compiled):
    """`Trace_ELBO` for stock `SVI` and for `Objective`, at the speed of compiled code.

    It takes the arguments of `Trace_ELBO`, draws the same random numbers, and its loss and
    gradients are equal to float rounding. See `Compiled`.

    Example:
        >>> import pyro_vae as pv
        >>> from pyro.infer import SVI
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> optim = pv.FusedOptim(torch.optim.Adam, {"lr": 1e-3})
        >>> svi = SVI(vae.model, vae.guide, optim, pv.CompiledTrace_ELBO())
        >>> loss = svi.step(x)  # doctest: +SKIP
    """

    def __init__(self, **options):
        super().__init__(TensorTraceELBO(**options))


def as_exportable(elbo: ELBO) -> ELBO:
    """An ELBO of equal draws, value and gradient whose arithmetic can be exported.

    Raises:
        TypeError: if it is one of Pyro's that has none.
    """
    if isinstance(elbo, Compiled):
        return elbo.elbo
    if type(elbo) is Trace_ELBO:
        return take_options(elbo)
    if type(elbo) is TraceMeanField_ELBO and elbo.num_particles == 1:
        return AnalyticKL()
    if type(elbo).__module__.startswith("pyro."):
        raise TypeError(
            f"elbo: {type(elbo).__name__} reads numbers off its tensors and cannot be compiled; "
            "use Trace_ELBO, or one of this package, or leave compile=True away"
        )
    return elbo


def _find_all_modules(model: Callable, guide: Callable) -> list[nn.Module]:
    modules = [*find_modules(model, "model").values(), *find_modules(guide, "guide").values()]
    return list({id(module): module for module in modules}.values())


def _is_forgotten(parameters: Iterable[str]) -> bool:
    """Whether Pyro's store was cleared since the parameters were registered."""
    first = next(iter(parameters), None)
    return first is not None and first not in pyro.get_param_store()


def _announce(parameters: dict[str, Tensor]) -> None:
    """Tell the handlers that collect parameters, as `SVI` does, which ones there are."""
    for handler in _PYRO_STACK:
        if isinstance(handler, TraceMessenger) and handler.param_only:
            for name, value in parameters.items():
                handler.trace.add_node(
                    name, name=name, type="param", value=value, is_observed=False
                )
