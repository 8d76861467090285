"""What is wrong with a pair, and how to mend it, before anything is trained or measured."""

from typing import NamedTuple

import torch
from pyro.infer import Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from pyro_vae.pairs.pair import group_parameters
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.supports import describe, find_support, is_same_support
from pyro_vae.weights.comparison import compare_draws
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.listed import is_marked
from pyro_vae.weights.obstacles import find_obstacles
from pyro_vae.weights.traces import (
    evaluated,
    hide_observed,
    latent_sites,
    latent_values,
    sample_sites,
    trace,
    unvalidated,
)

HEADER = ("site", "side", "kind", "plates", "batch", "event", "support", "reparametrised")


class Report(NamedTuple):
    """What `check` found.

    Attributes:
        sites: A row per site: name, side, kind, plates, batch_shape, event_shape, support,
            reparametrised.
        gradients: The norm of the gradient of one ELBO estimate by part of the pair, in nats per
            unit.
        problems: What is wrong, each with how to mend it. Empty if nothing is wrong.
    """

    sites: list[tuple[str, ...]]
    gradients: dict[str, float]
    problems: list[str]

    def __str__(self) -> str:
        rows = [HEADER, *self.sites]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_align(row, widths) for row in rows]
        norms = [f"gradient norm of {part}: {norm:.4g}" for part, norm in self.gradients.items()]
        problems = [f"problem: {problem}" for problem in self.problems]

        return "\n".join([*lines, "", *norms, "", *(problems or ["no problem found"])])


def _align(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    return "  ".join(cells).rstrip()


def check(pair: nn.Module, *data: Tensor) -> Report:
    """Run the model and guide of a pair once, print what they are made of, and say what to mend.

    It looks at shapes, supports and plates. It also compares draws that are scored together with
    the same draws scored one by one. That finds a network that normalises over the wrong axis, or
    mixes draws.

    Arguments:
        pair: The pair.
        data: What its model is called with, x first. A few rows are enough.

    Returns:
        The report that it printed.

    Raises:
        ValueError: if the data are empty or do not fit the likelihood.

    Example:
        >>> report = pv.check(vae, x)
        site  side   kind      plates    batch  event  support  reparametrised
        z     guide  latent    data[-1]  (5,)   (2,)   real     yes
        z     model  latent    data[-1]  (5,)   (2,)   real     yes
        x     model  observed  data[-1]  (5,)   (3,)   0 or 1   no
        ...
        no problem found
    """
    data = check_data(pair, data)
    with torch.no_grad(), OwnParameters(), unvalidated():
        guide_trace = trace(pair.guide, data)
        model_trace = trace(pair.model, data, latents=latent_values(guide_trace))
        unlisted = _find_unlisted(pair, data, guide_trace)

    problems = find_obstacles(model_trace, guide_trace) + unlisted
    problems += _compare_latents(model_trace, guide_trace)
    gradients: dict[str, float] = {}
    if not problems:
        problems += compare_draws(pair, data)
    if not problems:
        gradients, problems = _measure_gradients(pair, data)

    sites = [*_describe_sites("guide", guide_trace), *_describe_sites("model", model_trace)]
    report = Report(sites, gradients, problems)
    print(report)
    return report


def _describe_sites(side: str, run: Trace) -> list[tuple[str, ...]]:
    return [_describe_site(name, site, side) for name, site in sample_sites(run).items()]


def _describe_site(name: str, site: dict, side: str) -> tuple[str, ...]:
    fn = site["fn"]
    frames = site["cond_indep_stack"]
    plates = ", ".join(f"{frame.name}[{frame.dim}]" for frame in frames) or "none"
    kind = "observed" if site["is_observed"] else "latent"
    batch, event = str(tuple(fn.batch_shape)), str(tuple(fn.event_shape))
    has_path = "yes" if fn.has_rsample else "no"

    return name, side, kind, plates, batch, event, describe(find_support(fn)), has_path


def _find_unlisted(pair: nn.Module, data: tuple, guide_trace: Trace) -> list[str]:
    """Why a latent that the guide marks to be summed over cannot be."""
    if not any(is_marked(site) for site in latent_sites(guide_trace).values()):
        return []
    try:
        trace(pair.guide, tuple(d[:2] for d in data), lists=True)
    except ValueError as error:
        return [str(error)]
    return []


def _compare_latents(model_trace: Trace, guide_trace: Trace) -> list[str]:
    """Where a latent differs between model and guide in its support or its event shape."""
    problems = []
    model_sites = sample_sites(model_trace)
    for name, site in sample_sites(guide_trace).items():
        if name not in model_sites:
            continue
        p, q = model_sites[name]["fn"], site["fn"]
        if not _may_agree(find_support(q), find_support(p)):
            problems.append(
                f"latent {name!r} has support {describe(p.support)} in the model and "
                f"{describe(q.support)} in the guide; take a variational with the prior's support"
            )
        if q.event_shape != p.event_shape:
            problems.append(
                f"latent {name!r} has event_shape {tuple(p.event_shape)} in the model and "
                f"{tuple(q.event_shape)} in the guide; they must be equal, see .to_event(...)"
            )
    return problems


def _may_agree(ours: Constraint | None, theirs: Constraint | None) -> bool:
    """Whether two supports are the same, as far as both are known."""
    return ours is None or theirs is None or is_same_support(ours, theirs)


def _measure_gradients(pair: nn.Module, data: tuple) -> tuple[dict[str, float], list[str]]:
    """The norm of the gradient of each part of the pair, and what is wrong with it."""
    groups = group_parameters(pair)
    if not groups:
        return {}, []

    # in training mode a network may keep statistics of what it is given
    with evaluated(pair), OwnParameters(), unvalidated():
        total = Trace_ELBO().differentiable_loss(pair.model, hide_observed(pair.guide), *data)
        loss = total / data[0].shape[0]
    norms = {part: _measure_gradient(loss, group) for part, group in groups.items()}
    problems = []
    if not loss.isfinite():
        problems.append(f"the loss is {loss.item()}; look for a log-probability that is not finite")
    for part, norm in norms.items():
        problems += _judge_gradient(part, norm)
    return norms, problems


def _measure_gradient(loss: Tensor, parameters: list[nn.Parameter]) -> float:
    if not loss.requires_grad:
        return 0.0

    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    norms = [gradient.norm() for gradient in gradients if gradient is not None]
    return torch.stack(norms or [torch.zeros(())]).norm().item()


def _judge_gradient(part: str, norm: float) -> list[str]:
    if not norm:
        return [
            f"{part} gets no gradient: its parameters do not reach the ELBO; is its output used?"
        ]
    if norm != norm or norm == float("inf"):
        return [f"the gradient of {part} is {norm}; look for a division by zero or a log of it"]
    return []
