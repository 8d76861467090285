"""What is wrong with a pair, or with data for it, and how to mend it, before anything is trained or measured."""

from typing import NamedTuple

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.supports import describe, is_same_support
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.obstacles import find_obstacles
from pyro_vae.weights.traces import (
    latent_values,
    log_prob,
    quietly,
    sample_sites,
    trace,
    unvalidated,
)


class Report(NamedTuple):
    """What `check` found.

    Attributes:
        sites: A row per site: name, side, kind, plates, batch_shape, event_shape, support,
            reparametrised.
        gradients: The norm of the gradient of one ELBO estimate by part of the pair, in nats per
            unit.
        problems: What is wrong, each with how to mend it; empty if nothing is.
    """

    sites: list[tuple[str, ...]]
    gradients: dict[str, float]
    problems: list[str]

    def __str__(self) -> str:
        header = ("site", "side", "kind", "plates", "batch", "event", "support", "reparametrised")
        rows = [header, *self.sites]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines += [
            "",
            *(f"gradient norm of {part}: {norm:.4g}" for part, norm in self.gradients.items()),
            "",
        ]
        lines += [f"problem: {problem}" for problem in self.problems] or ["no problem found"]
        return "\n".join(lines)


def check(pair: nn.Module, *data: Tensor) -> Report:
    """Run the model and guide of a pair once, print what they are made of, and say what to mend.

    Besides shapes, supports and plates it compares draws that are scored together with the same
    draws scored one by one, which finds a network that normalises over the wrong axis or mixes
    draws.

    Arguments:
        pair: The pair.
        data: What its model is called with, x first; a few rows are enough.

    Returns:
        The report that it printed.

    Raises:
        ValueError: if the data are empty or do not fit the likelihood.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Normal(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> report = pv.check(vae, torch.zeros(5, 3))
        site  side   kind      plates    batch   event  support  reparametrised
        z     guide  latent    data[-1]  (5,)    (2,)   real     yes
        z     model  latent    data[-1]  (5,)    (2,)   real     yes
        x     model  observed  data[-1]  (5,)    (3,)   real     yes
        ...
        no problem found
    """
    data = check_data(pair, data)
    with torch.no_grad(), OwnParameters(), unvalidated():
        guide_trace = trace(pair.guide, data)
        model_trace = trace(pair.model, data, latents=latent_values(guide_trace))
    rows = [_row(name, site, "guide") for name, site in sample_sites(guide_trace).items()]
    rows += [_row(name, site, "model") for name, site in sample_sites(model_trace).items()]

    problems = find_obstacles(model_trace, guide_trace)
    for name, site in sample_sites(guide_trace).items():
        other = sample_sites(model_trace).get(name)
        if other is not None and not is_same_support(site["fn"].support, other["fn"].support):
            problems.append(
                f"latent {name!r} has support {describe(other['fn'].support)} in the model and "
                f"{describe(site['fn'].support)} in the guide; take a variational with the prior's support"
            )
        if other is not None and site["fn"].event_shape != other["fn"].event_shape:
            problems.append(
                f"latent {name!r} has event_shape {tuple(other['fn'].event_shape)} in the model and "
                f"{tuple(site['fn'].event_shape)} in the guide; they must be equal, see .to_event(...)"
            )
    if not problems:
        problems += _draws_apart(pair, data)

    gradients = {}
    if not problems:
        gradients, more = _gradients(pair, data)
        problems += more
    report = Report(rows, gradients, problems)
    print(report)
    return report


def _row(name: str, site: dict, side: str) -> tuple[str, ...]:
    plates = ", ".join(f"{frame.name}[{frame.dim}]" for frame in site["cond_indep_stack"]) or "none"
    fn = site["fn"]
    kind = "observed" if site["is_observed"] else "latent"
    shapes = str(tuple(fn.batch_shape)), str(tuple(fn.event_shape))
    return (
        name,
        side,
        kind,
        plates,
        *shapes,
        describe(fn.support),
        "yes" if fn.has_rsample else "no",
    )


def _draws_apart(pair: nn.Module, data: tuple, draws: int = 3) -> list[str]:
    """Compare draws scored under a plate with the same draws scored one by one."""
    problems = []
    try:
        with quietly(pair):
            together = trace(pair.guide, data, draws=draws)
            z = latent_values(together)
            both = {"guide": together, "model": trace(pair.model, data, draws=draws, latents=z)}
    except Exception as error:
        return [
            f"under a plate of {draws} draws the pair fails, {type(error).__name__}: {error}. Networks get z as "
            "[k, n, ...] there: fold the leading dimensions, as pyro_vae.networks.Network does"
        ]
    for j in range(draws):
        for side, run in both.items():
            with quietly(pair):
                alone = trace(
                    getattr(pair, side), data, latents={name: value[j] for name, value in z.items()}
                )
            for name, site in sample_sites(run).items():
                one = log_prob(sample_sites(alone)[name])
                shape = (draws, data[0].shape[0])
                try:
                    many = log_prob(site).expand(shape)[j]
                except RuntimeError:
                    many = log_prob(site)
                if many.shape != one.shape or not torch.allclose(many, one, rtol=1e-3, atol=1e-3):
                    problems.append(
                        f"site {name!r} of the {side} is scored otherwise when several draws are scored together: "
                        "something in it normalises or mixes over a leading dimension; name dimensions from the "
                        "right (dim=-1), and keep batch normalisation out"
                    )
    return list(dict.fromkeys(problems))


def _gradients(pair: nn.Module, data: tuple) -> tuple[dict[str, float], list[str]]:
    parts: dict[str, list] = {}
    for name, p in pair.named_parameters():
        parts.setdefault(name.removeprefix("parts.").split(".")[0], []).append(p)
    learned = {part: [p for p in ps if p.requires_grad] for part, ps in parts.items()}
    learned = {part: ps for part, ps in learned.items() if ps}
    if not learned:
        return {}, []
    with OwnParameters(), unvalidated():
        loss = Trace_ELBO().differentiable_loss(pair.model, pair.guide, *data) / data[0].shape[0]
    problems = (
        []
        if loss.isfinite()
        else [f"the loss is {loss.item()}; look for a log-probability that is not finite"]
    )
    norms = {}
    for part, ps in learned.items():
        grads = (
            torch.autograd.grad(loss, ps, retain_graph=True, allow_unused=True)
            if loss.requires_grad
            else []
        )
        norms[part] = float(
            torch.stack([g.norm() for g in grads if g is not None] or [torch.zeros(())]).norm()
        )
        if not norms[part]:
            problems.append(
                f"{part} gets no gradient: its parameters do not reach the ELBO; is its output used?"
            )
        elif norms[part] != norms[part] or norms[part] == float("inf"):
            problems.append(
                f"the gradient of {part} is {norms[part]}; look for a division by zero or a log of it"
            )
    return norms, problems
