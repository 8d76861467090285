"""Whether data lie within the support of the site that observes them, and what to do if not."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from pyro_vae.distributions import Missing, Product
from pyro_vae.supports import describe, elementwise, find_support

CHECKED = 4096  # rows that are compared with the support at a time


def has_bounds_per_row(support: constraints.Constraint) -> bool:
    """Whether the bounds of a support are tensors, which may differ from datum to datum."""
    inner = [*getattr(support, "cseq", []), getattr(support, "base_constraint", None)]
    if any(has_bounds_per_row(part) for part in inner if isinstance(part, constraints.Constraint)):
        return True

    bounds = [getattr(support, name, 0) for name in ("lower_bound", "upper_bound")]
    return any(isinstance(bound, Tensor) and bound.dim() > 0 for bound in bounds)


def check_observed(name: str, site: dict, few: tuple, data: tuple) -> None:
    """Compare what a site observes with the event shape and the support of its distribution.

    Arguments:
        name: The name of the site.
        site: The site, of a run on `few`, without the observation.
        few: The data of that run.
        data: All of the data, in the same order.

    Raises:
        TypeError: if the data are integers and the support is continuous.
        ValueError: if the data have another shape, or lie outside the support.
    """
    fn, observed = site["fn"], site["infer"]["obs"]
    _check_event(name, observed, tuple(fn.event_shape))

    pairs = zip(data, few, strict=True)
    whole = next((values for values, part in pairs if observed is part), None)
    whole = _take_unmasked(observed if whole is None else whole, site["mask"])
    if isinstance(fn, Missing):
        fn = fn.complete
    if not isinstance(fn, Product):
        _check_values(name, fn, whole)
        return
    for column, values in fn.split(whole).items():
        _check_values(f"column {column!r} of {name}", fn.parts[column], values)


def _take_unmasked(observed: Tensor, mask: object) -> Tensor:
    """The rows that count. What a mask hides may be anything."""
    if not isinstance(mask, Tensor) or mask.shape != observed.shape[:1]:
        return observed
    return observed[mask]


def _check_event(name: str, observed: Tensor, event: tuple) -> None:
    got = tuple(observed.shape[1:])
    if got == event:
        return

    hint = ""
    if observed[0].numel() == torch.Size(event).numel():
        hint = f" Use {name}[:, 0]."
        if event:
            hint = f" Reshape it: {name}.reshape(-1, {', '.join(map(str, event))})."
    raise ValueError(
        f"{name}: expected [n, *event] with the event shape of the likelihood, {event}, "
        f"got {list(got)}.{hint}"
    )


def _check_values(name: str, fn: Distribution, values: Tensor) -> None:
    known = find_support(fn)
    if known is None:
        return
    support = elementwise(known)
    while isinstance(fn, Independent):
        fn = fn.base_dist
    family = type(fn).__name__

    if not values.is_floating_point() and not support.is_discrete:
        raise TypeError(
            f"{name} is made of integers ({values.dtype}), and the support of {family} is "
            f"continuous. Convert it, {name}.float(), and scale it as you mean it; or use a family "
            "of counts or classes (pv.Poisson, pv.Categorical)."
        )

    is_inside = torch.cat([support.check(part) for part in values.split(CHECKED)])
    is_seen = ~values.isnan()
    if not is_seen.all():
        values, is_inside = values[is_seen], is_inside[is_seen]
    if not is_inside.all():
        advice = _advise(support, values, is_inside)
        raise ValueError(f"{name} lies outside the support of {family}: {advice}")


def _advise(support: constraints.Constraint, values: Tensor, is_inside: Tensor) -> str:
    """How many values lie outside, and what to do with them."""
    low, high = values.min().item(), values.max().item()
    share = f"{100 * (~is_inside).float().mean().item():.3g} % of its values are"
    if support is constraints.boolean and low >= 0 and high <= 1:
        return (
            f"{share} strictly between 0 and 1. Binarise it (transform=torch.bernoulli) or use "
            "pv.ContinuousBernoulli."
        )

    said = f"{share} not {describe(support)}; they run from {low:g} to {high:g}. "
    return said + _find_cure(support, low, high)


def _find_cure(support: constraints.Constraint, low: float, high: float) -> str:
    if support is constraints.boolean:
        return "Scale it to [0, 1] and binarise it, or use pv.Normal."
    if isinstance(support, constraints.integer_interval):
        return (
            f"Number the classes from 0 and ask for classes={int(high) + 1}, if they are classes; "
            f"for total_count={int(high)}, if they are counts."
        )
    if support.is_discrete:
        return "Round it to counts, or use a continuous family such as pv.Normal or pv.Gamma."
    if isinstance(support, constraints.interval):
        return f"Scale it, (x - {low:g}) / {high - low:g}, or use pv.Normal."
    if isinstance(support, constraints.greater_than | constraints.greater_than_eq):
        return "Shift or transform it to be positive, or use pv.Normal."
    return "Transform it, or use a family with another support."
