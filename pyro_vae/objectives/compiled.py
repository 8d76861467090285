"""ELBOs that run a pair's handlers once and then compiled code."""

import warnings
import weakref
from collections.abc import Callable

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import is_identically_zero
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.util import MultiFrameTensor
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.compiling.loss import CompiledLoss, cuda_devices
from pyro_vae.objectives.weighted import AnalyticKL
from pyro_vae.pairs.parameters import find_modules


class _Trace(Trace_ELBO):
    """`Trace_ELBO` in arithmetic that never leaves the tensors, so that it can be exported."""

    def _differentiable_loss_particle(self, model_trace, guide_trace):
        elbo, score = 0.0, 0.0
        for site in model_trace.nodes.values():
            if site["type"] == "sample":
                elbo = elbo + site["log_prob_sum"]
        entropy = elbo
        log_r = None
        for site in guide_trace.nodes.values():
            if site["type"] == "sample":
                _, score_function, entropy_term = site["score_parts"]
                elbo = elbo - site["log_prob_sum"]
                if not is_identically_zero(entropy_term):
                    entropy = entropy - entropy_term.sum()
                if not is_identically_zero(score_function):
                    log_r = _log_r(model_trace, guide_trace) if log_r is None else log_r
                    score = score + (log_r.sum_to(_unsized(site)) * score_function).sum()
        return -elbo, -(entropy + score)

    def differentiable_loss(self, model, guide, *args, **kwargs):
        loss = 0.0
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            value, surrogate = self._differentiable_loss_particle(model_trace, guide_trace)
            loss = loss + (value.detach() + surrogate - surrogate.detach()) / self.num_particles
        return loss


def _log_r(model_trace: poutine.Trace, guide_trace: poutine.Trace) -> MultiFrameTensor:
    total = MultiFrameTensor()
    for name, site in model_trace.nodes.items():
        if site["type"] == "sample":
            term = (
                site["log_prob"]
                if site["is_observed"]
                else site["log_prob"] - guide_trace.nodes[name]["log_prob"]
            )
            total.add((_unsized(site), term.detach()))
    return total


def _unsized(site: dict) -> tuple:
    """The plates of a site without their sizes, for a symbolic one has no hash."""
    return tuple(frame._replace(size=-1, full_size=-1) for frame in site["cond_indep_stack"])


def exportable(elbo: ELBO) -> ELBO:
    """The objective with arithmetic that can be exported, of equal value and gradient.

    Raises:
        TypeError: for one of Pyro's that has none.
    """
    if isinstance(elbo, Compiled):
        return elbo.elbo
    if type(elbo) is Trace_ELBO:
        ours = _Trace()
        ours.__dict__.update(elbo.__dict__)
        return ours
    if type(elbo) is TraceMeanField_ELBO and elbo.num_particles == 1:
        return AnalyticKL()
    if type(elbo).__module__.startswith("pyro."):
        raise TypeError(
            f"elbo: {type(elbo).__name__} reads numbers off its tensors and cannot be compiled; use Trace_ELBO, or one "
            "of this package, or leave compile=True away"
        )
    return elbo


class Compiled(ELBO):
    """An ELBO for stock `SVI`, or for `Objective`, that runs a pair's handlers once and then compiled code.

    The first step takes some seconds, for it compiles; see `CompiledLoss` for what is and is not
    noticed later.

    Arguments:
        elbo: `Trace_ELBO()`, or any of this package's.

    Raises:
        TypeError: if the ELBO cannot be compiled.
        RuntimeError: at a step, if the pair cannot be, with the line at fault.
    """

    def __init__(self, elbo: ELBO):
        self.elbo = exportable(elbo)
        self._losses: dict[tuple, tuple] = {}

    def _get_trace(self, model, guide, args, kwargs):
        return self.elbo._get_trace(model, guide, args, kwargs)

    def differentiable_loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Tensor:
        """The loss, a scalar tensor with gradients."""
        loss, parameters = self._loss(model, guide, args, kwargs)
        for handler in _PYRO_STACK:
            if isinstance(handler, TraceMessenger) and handler.param_only:
                for name, value in parameters.items():
                    handler.trace.add_node(
                        name, name=name, type="param", value=value, is_observed=False
                    )
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

    def _loss(self, model, guide, args, kwargs) -> tuple[CompiledLoss, dict[str, Tensor]]:
        found = self._losses.get((model, guide))
        store = pyro.get_param_store()
        if found is None or (found[1] and next(iter(found[1])) not in store):
            found = self._losses[model, guide] = self._discover(model, guide, args, kwargs)
        return found

    def _discover(self, model, guide, args, kwargs) -> tuple[CompiledLoss, dict[str, Tensor]]:
        """Run the pair once, as Pyro would, to find and register all that it learns."""
        devices = cuda_devices([a for a in args if isinstance(a, Tensor)])
        with torch.random.fork_rng(devices=devices), torch.no_grad(), poutine.block():
            with poutine.trace(param_only=True) as found:
                draws = poutine.trace(guide).get_trace(*args, **kwargs)
                poutine.replay(model, trace=draws)(*args, **kwargs)
            if getattr(
                self.elbo, "vectorize_particles", False
            ) and self.elbo.max_plate_nesting == float("inf"):
                self.elbo._guess_max_plate_nesting(model, guide, args, kwargs)
        modules = {
            id(m): m
            for role, fn in (("model", model), ("guide", guide))
            for m in find_modules(fn, role).values()
        }
        owned = {id(p) for m in modules.values() for p in m.parameters()}
        parameters, bare = {}, {}
        for name, site in found.trace.nodes.items():
            leaf = site["value"].unconstrained()
            parameters[name] = leaf
            leaf.unconstrained = weakref.ref(leaf)
            if id(leaf) not in owned:
                bare[name] = (leaf, site["kwargs"].get("constraint", constraints.real))

        def loss(*args, **kwargs):
            return self.elbo.differentiable_loss(model, guide, *args, **kwargs)

        return CompiledLoss(
            loss, modules.values(), bare, before=getattr(self.elbo, "advance", None)
        ), parameters


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
        >>> svi = SVI(vae.model, vae.guide, pv.FusedOptim(torch.optim.Adam, {"lr": 1e-3}), pv.CompiledTrace_ELBO())
        >>> loss = svi.step(torch.ones(5, 3))  # doctest: +SKIP
    """

    def __init__(self, **options):
        super().__init__(Trace_ELBO(**options))
