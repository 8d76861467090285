"""What is wrong with a pair, or with data for it, and how to mend it, before anything is trained or measured."""

from typing import NamedTuple

import numpy as np
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints

from pyro_vae.distributions.columns import Product, elementwise
from pyro_vae.pairs.pair import OwnParameters
from pyro_vae.supports import describe, same_support
from pyro_vae.traces import latents, log_prob, quietly, refusals, samples, trace, unvalidated

CHECKED = 4096  # rows that are compared with the support at a time


class Report(NamedTuple):
    """What `check` found.

    Attributes:
        sites: A row per site: name, side, kind, plates, batch_shape, event_shape, support, reparametrised.
        gradients: The norm of the gradient of one ELBO estimate by part of the pair, in nats per unit.
        problems: What is wrong, each with how to mend it; empty if nothing is.
    """

    sites: list[tuple[str, ...]]
    gradients: dict[str, float]
    problems: list[str]

    def __str__(self) -> str:
        header = ("site", "side", "kind", "plates", "batch", "event", "support", "reparametrised")
        rows = [header, *self.sites]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines += ["", *(f"gradient norm of {part}: {norm:.4g}" for part, norm in self.gradients.items()), ""]
        lines += [f"problem: {problem}" for problem in self.problems] or ["no problem found"]
        return "\n".join(lines)


def check(pair: nn.Module, *data: Tensor) -> Report:
    """Run the model and guide of a pair once, print what they are made of, and say what to mend.

    Besides shapes, supports and plates it compares draws that are scored together with the same draws scored one
    by one, which finds a network that normalises over the wrong axis or mixes draws.

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
        model_trace = trace(pair.model, data, latents=latents(guide_trace))
    rows = [_row(name, site, "guide") for name, site in samples(guide_trace).items()]
    rows += [_row(name, site, "model") for name, site in samples(model_trace).items()]

    problems = refusals(model_trace, guide_trace)
    for name, site in samples(guide_trace).items():
        other = samples(model_trace).get(name)
        if other is not None and not same_support(site["fn"].support, other["fn"].support):
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
    return (name, side, kind, plates, *shapes, describe(fn.support), "yes" if fn.has_rsample else "no")


def _draws_apart(pair: nn.Module, data: tuple, draws: int = 3) -> list[str]:
    """Compare draws scored under a plate with the same draws scored one by one."""
    problems = []
    try:
        with quietly(pair):
            together = trace(pair.guide, data, draws=draws)
            z = latents(together)
            both = {"guide": together, "model": trace(pair.model, data, draws=draws, latents=z)}
    except Exception as error:
        return [
            f"under a plate of {draws} draws the pair fails, {type(error).__name__}: {error}. Networks get z as "
            "[k, n, ...] there: fold the leading dimensions, as pyro_vae.networks.Network does"
        ]
    for j in range(draws):
        for side, run in both.items():
            with quietly(pair):
                alone = trace(getattr(pair, side), data, latents={name: value[j] for name, value in z.items()})
            for name, site in samples(run).items():
                one = log_prob(samples(alone)[name])
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
    problems = [] if loss.isfinite() else [f"the loss is {loss.item()}; look for a log-probability that is not finite"]
    norms = {}
    for part, ps in learned.items():
        grads = torch.autograd.grad(loss, ps, retain_graph=True, allow_unused=True) if loss.requires_grad else []
        norms[part] = float(torch.stack([g.norm() for g in grads if g is not None] or [torch.zeros(())]).norm())
        if not norms[part]:
            problems.append(f"{part} gets no gradient: its parameters do not reach the ELBO; is its output used?")
        elif norms[part] != norms[part] or norms[part] == float("inf"):
            problems.append(f"the gradient of {part} is {norms[part]}; look for a division by zero or a log of it")
    return norms, problems


def as_tensors(pair: nn.Module, data: tuple) -> tuple[Tensor, ...]:
    """The data as tensors of equal length, floating ones in the precision of the pair.

    Raises:
        TypeError: if something is neither a tensor nor an array of numbers.
        ValueError: if there are none, or their lengths differ, or they hold NaN or infinity.
    """
    if not data:
        raise ValueError("x: expected data, got none")
    like = next((p for p in pair.parameters() if p.is_floating_point()), torch.zeros(()))
    tensors = []
    for i, d in enumerate(data):
        name = "x" if i == 0 else f"data[{i}]"
        if isinstance(d, np.ndarray) and d.dtype.kind in "biuf":
            d = torch.from_numpy(d)
        if not isinstance(d, Tensor):
            raise TypeError(f"{name}: expected a tensor [n, *event], got {type(d).__name__}; see pyro_vae.data.load")
        if d.dim() == 0 or d.shape[0] == 0:
            raise ValueError(f"{name} is empty: expected at least one row, got shape {list(d.shape)}")
        if d.shape[0] != tensors[0].shape[0] if tensors else False:
            raise ValueError(f"{name}: expected as many rows as x, {tensors[0].shape[0]}, got {d.shape[0]}")
        missing = d.isnan() if i == 0 and takes_missing(pair) else torch.zeros_like(d, dtype=torch.bool)
        bad = ~d.isfinite() & ~missing
        if bad.any():
            cure = "Remove those rows, or fill the values in"
            if i == 0 and d.isnan().any() and not takes_missing(pair):
                cure += "; or take NaN as missing, likelihood=pv.missing(...)"
            raise ValueError(f"{name} holds {int(bad.sum())} values that are NaN or infinite, {_rows(bad)}. {cure}.")
        unseen = missing.reshape(d.shape[0], -1).all(1)
        if unseen.any():
            raise ValueError(
                f"{name}: every value is missing {_rows(unseen)}. Remove those rows, nothing is known of them."
            )
        tensors.append(d.to(like.dtype) if d.is_floating_point() else d)
    return tuple(tensors)


def takes_missing(pair: nn.Module) -> bool:
    """Whether NaN in x is a missing value to the pair, see `conditionals.missing`."""
    return any(getattr(module, "takes_missing", False) for module in pair.modules())


def _rows(bad: Tensor) -> str:
    rows = bad.reshape(bad.shape[0], -1).any(1).nonzero().flatten().tolist()
    return f"in rows {rows[:5]}{' and more' if len(rows) > 5 else ''}"


def check_data(pair: nn.Module, data: tuple) -> tuple[Tensor, ...]:
    """Check data for a pair: finite, of the likelihood's event shape, within its support, and log p(x | z) finite.

    The support is compared for all of the data; log p(x | z) is computed for the rows that hold the least and the
    largest value of each number of x, for a density can be infinite only at the edge of its support.

    Returns:
        The data, as `as_tensors` gives them.

    Raises:
        TypeError: if x is made of integers and the likelihood's support is continuous.
        ValueError: if the data do not fit, with what to do.
    """
    data = as_tensors(pair, data)
    few = tuple(d[:2] for d in data)
    with quietly(pair):
        per_row = any(_bounded_per_row(site["fn"].support) for site in _observed(pair, few).values())
        for part in zip(*(d.split(CHECKED) for d in data), strict=True) if per_row else [few]:
            for name, site in _observed(pair, part).items():
                _check_observed(name, site, part, part if per_row else data)
        trace(pair.guide, few)

    x = data[0]
    flat = x.reshape(x.shape[0], -1).to(torch.uint8 if x.dtype == torch.bool else x.dtype)
    few_rows = torch.arange(min(2, x.shape[0]), device=x.device)
    holes = flat.isnan()
    gaps = holes.any(1).nonzero().flatten()[:2]
    low, high = flat.nan_to_num(torch.inf).argmin(0), flat.nan_to_num(-torch.inf).argmax(0)
    edge = torch.cat([few_rows, gaps, low, high]).unique()
    part = tuple(d[edge[:2000]] for d in data)
    with quietly(pair):
        guide_trace = trace(pair.guide, part)
        if holes.any() and any(
            value.is_floating_point() and value.isnan().any() for value in latents(guide_trace).values()
        ):
            raise ValueError(
                "the guide draws NaN where x has missing values: tell its network what is missing, "
                "variational=pv.Normal(..., net=pv.masked(pv.networks.mlp))"
            )
        model_trace = trace(pair.model, part, latents=latents(guide_trace))
        if refusals(model_trace, guide_trace):
            return data  # such a pair has no log p(x | z) per row; what measures it will say so
        observed = [site for site in samples(model_trace).values() if site["is_observed"]]
        log_p = sum((log_prob(site) for site in observed), torch.zeros(part[0].shape[0], device=x.device))
    bad = ~log_p.isfinite()
    if bad.any():
        row = int(edge[bad.flatten().nonzero()[0, 0]])
        raise ValueError(
            f"log p(x | z) is {log_p[bad][0].item()} at row {row} of x: its values touch the edge of the "
            "likelihood's support, where its density is zero or infinite. Move them off it, x.clamp(1e-3, 1 - 1e-3) "
            "for values between 0 and 1, or use a family that is finite there (pv.ContinuousBernoulli, pv.Normal)."
        )
    return data


def _observed(pair: nn.Module, data: tuple) -> dict[str, dict]:
    """The sites that the model observes, run without the observation."""
    sites = samples(trace(poutine.uncondition(pair.model), data))
    return {name: site for name, site in sites.items() if site["infer"].get("was_observed")}


def _bounded_per_row(support: constraints.Constraint) -> bool:
    """Whether the bounds of a support are tensors, which may differ from datum to datum."""
    inner = [*getattr(support, "cseq", []), getattr(support, "base_constraint", None)]
    bounds = getattr(support, "lower_bound", 0), getattr(support, "upper_bound", 0)
    within = any(_bounded_per_row(c) for c in inner if isinstance(c, constraints.Constraint))
    return within or any(isinstance(b, Tensor) and b.dim() > 0 for b in bounds)


def _check_observed(name: str, site: dict, few: tuple, data: tuple) -> None:
    fn, obs = site["fn"], site["infer"]["obs"]
    event = tuple(fn.event_shape)
    if tuple(obs.shape[1:]) != event:
        hint = ""
        if obs[0].numel() == torch.Size(event).numel():
            hint = f" Reshape it: {name}.reshape(-1, {', '.join(map(str, event))})." if event else f" Use {name}[:, 0]."
        raise ValueError(
            f"{name}: expected [n, *event] with the event shape of the likelihood, {event}, "
            f"got {list(obs.shape[1:])}.{hint}"
        )
    whole = next((d for d, f in zip(data, few, strict=True) if obs is f), obs)
    fn = getattr(fn, "complete", fn)
    if not isinstance(fn, Product):
        _check_values(name, fn, whole)
        return
    for column, values in fn.split(whole).items():
        _check_values(f"column {column!r} of {name}", fn.parts[column], values)


def _check_values(name: str, fn: Distribution, whole: Tensor) -> None:
    base = elementwise(fn.support)
    while isinstance(fn, Independent):
        fn = fn.base_dist
    family = type(fn).__name__
    if not whole.is_floating_point() and not base.is_discrete:
        raise TypeError(
            f"{name} is made of integers ({whole.dtype}), and the support of {family} is continuous. Convert it, "
            f"{name}.float(), and scale it as you mean it; or use a family of counts or classes (pv.Poisson, "
            "pv.Categorical)."
        )
    inside, seen = torch.cat([base.check(part) for part in whole.split(CHECKED)]), ~whole.isnan()
    if not seen.all():
        whole, inside = whole[seen], inside[seen]
    if not inside.all():
        raise ValueError(f"{name} lies outside the support of {family}: " + _advice(base, whole, inside))


def _advice(base: constraints.Constraint, x: Tensor, inside: Tensor) -> str:
    low, high = x.min().item(), x.max().item()
    share = 100 * (~inside).float().mean().item()
    said = f"{share:.3g} % of its values are not {describe(base)}; they run from {low:g} to {high:g}. "
    if base is constraints.boolean:
        if low >= 0 and high <= 1:
            return (
                f"{share:.3g} % of its values are strictly between 0 and 1. Binarise it (transform=torch.bernoulli) "
                "or use pv.ContinuousBernoulli."
            )
        return said + "Scale it to [0, 1] and binarise it, or use pv.Normal."
    if isinstance(base, constraints.integer_interval):
        ask = f"ask for classes={int(high) + 1}, if they are classes; for total_count={int(high)}, if they are counts."
        return said + "Number the classes from 0 and " + ask
    if base.is_discrete:
        return said + "Round it to counts, or use a continuous family such as pv.Normal or pv.Gamma."
    if isinstance(base, constraints.interval):
        return said + f"Scale it, (x - {low:g}) / {high - low:g}, or use pv.Normal."
    if isinstance(base, constraints.greater_than | constraints.greater_than_eq):
        return said + "Shift or transform it to be positive, or use pv.Normal."
    return said + "Transform it, or use a family with another support."
