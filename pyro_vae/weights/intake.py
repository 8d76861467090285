"""Data that are admitted: tensors of equal length, finite, and within the support of the likelihood."""

import numpy as np
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints

from pyro_vae.distributions.columns import Product
from pyro_vae.supports import describe, elementwise
from pyro_vae.weights.traces import latent_values, log_prob, quietly, refusals, sample_sites, trace

CHECKED = 4096  # rows that are compared with the support at a time


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
            raise TypeError(
                f"{name}: expected a tensor [n, *event], got {type(d).__name__}; see pyro_vae.data.load"
            )
        if d.dim() == 0 or d.shape[0] == 0:
            raise ValueError(
                f"{name} is empty: expected at least one row, got shape {list(d.shape)}"
            )
        if d.shape[0] != tensors[0].shape[0] if tensors else False:
            raise ValueError(
                f"{name}: expected as many rows as x, {tensors[0].shape[0]}, got {d.shape[0]}"
            )
        missing = (
            d.isnan() if i == 0 and takes_missing(pair) else torch.zeros_like(d, dtype=torch.bool)
        )
        bad = ~d.isfinite() & ~missing
        if bad.any():
            cure = "Remove those rows, or fill the values in"
            if i == 0 and d.isnan().any() and not takes_missing(pair):
                cure += "; or take NaN as missing, likelihood=pv.missing(...)"
            raise ValueError(
                f"{name} holds {int(bad.sum())} values that are NaN or infinite, {_rows(bad)}. {cure}."
            )
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

    The support is compared for all of the data; log p(x | z) is computed for the rows that hold the
    least and the largest value of each number of x, for a density can be infinite only at the edge
    of its support.

    Returns:
        The data, as `as_tensors` gives them.

    Raises:
        TypeError: if x is made of integers and the likelihood's support is continuous.
        ValueError: if the data do not fit, with what to do.
    """
    data = as_tensors(pair, data)
    few = tuple(d[:2] for d in data)
    with quietly(pair):
        per_row = any(
            _bounded_per_row(site["fn"].support) for site in _observed(pair, few).values()
        )
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
            value.is_floating_point() and value.isnan().any()
            for value in latent_values(guide_trace).values()
        ):
            raise ValueError(
                "the guide draws NaN where x has missing values: tell its network what is missing, "
                "variational=pv.Normal(..., net=pv.masked(pv.networks.mlp))"
            )
        model_trace = trace(pair.model, part, latents=latent_values(guide_trace))
        if refusals(model_trace, guide_trace):
            return data  # such a pair has no log p(x | z) per row; what measures it will say so
        observed = [site for site in sample_sites(model_trace).values() if site["is_observed"]]
        log_p = sum(
            (log_prob(site) for site in observed), torch.zeros(part[0].shape[0], device=x.device)
        )
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
    sites = sample_sites(trace(poutine.uncondition(pair.model), data))
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
            hint = (
                f" Reshape it: {name}.reshape(-1, {', '.join(map(str, event))})."
                if event
                else f" Use {name}[:, 0]."
            )
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
        raise ValueError(
            f"{name} lies outside the support of {family}: " + _advice(base, whole, inside)
        )


def _advice(base: constraints.Constraint, x: Tensor, inside: Tensor) -> str:
    low, high = x.min().item(), x.max().item()
    share = 100 * (~inside).float().mean().item()
    said = (
        f"{share:.3g} % of its values are not {describe(base)}; they run from {low:g} to {high:g}. "
    )
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
        return (
            said + "Round it to counts, or use a continuous family such as pv.Normal or pv.Gamma."
        )
    if isinstance(base, constraints.interval):
        return said + f"Scale it, (x - {low:g}) / {high - low:g}, or use pv.Normal."
    if isinstance(base, constraints.greater_than | constraints.greater_than_eq):
        return said + "Shift or transform it to be positive, or use pv.Normal."
    return said + "Transform it, or use a family with another support."
