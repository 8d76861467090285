"""Whether data lie within the support of the site that observes them, and what to do if not."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from pyro_vae.distributions import Missing, Product
from pyro_vae.supports import describe, elementwise, find_support, is_real

CHECKED = 4096  # rows that are compared with the support at a time
BETWEEN_BOUNDS = (
    constraints.interval,
    constraints.half_open_interval,
    constraints.greater_than,
    constraints.greater_than_eq,
    constraints.less_than,
    constraints.integer_interval,
    type(constraints.nonnegative_integer),
    type(constraints.boolean),
)


def has_bounds_per_row(support: constraints.Constraint) -> bool:
    """Whether the bounds of a support are tensors, which may differ from datum to datum."""
    inner = [*getattr(support, "cseq", []), getattr(support, "base_constraint", None)]
    if any(has_bounds_per_row(part) for part in inner if isinstance(part, constraints.Constraint)):
        return True

    bounds = [getattr(support, name, 0) for name in ("lower_bound", "upper_bound")]
    return any(isinstance(bound, Tensor) and bound.shape[:1].numel() > 1 for bound in bounds)


def check_kind(name: str, site: dict) -> None:
    """Compare what a site observes with the event shape and the kind of its distribution.

    Arguments:
        name: The name of the site.
        site: The site, of a run without the observation.

    Raises:
        TypeError: if the data are integers and the support is continuous.
        ValueError: if the data have another shape.
    """
    observed = site["infer"]["obs"]
    _check_event(name, observed, tuple(site["fn"].event_shape))
    for label, fn, values in _split_columns(name, site, observed):
        _check_type(label, fn, values)


def is_within(site: dict, few: tuple, part: tuple, corners: tuple) -> bool:
    """Whether part of the data lies within the support of the site that observes it.

    Arguments:
        site: The site, of a run on `few`, without the observation.
        few: The data of that run.
        part: Data in the same order, of any rows.
        corners: For each of them the least and the largest value of every number, `[2, *event]`,
            where that is known, else None. Where a support lies between bounds, they decide.
    """
    values = _find_observed(site, few, part)
    known = None if isinstance(site["mask"], Tensor) else _find_observed(site, few, corners)
    if known is None:
        return all(_is_inside(fn, value, None) for _, fn, value in _split_columns("", site, values))
    both = zip(_split_columns("", site, values), _split_columns("", site, known), strict=True)
    return all(_is_inside(fn, value, corner) for (_, fn, value), (_, _, corner) in both)


def refuse_outside(name: str, site: dict, few: tuple, parts: Iterable[tuple]) -> None:
    """Raise a ValueError if data lie outside the support of the site that observes them.

    Arguments:
        name: The name of the site.
        site: The site, of a run on `few`, without the observation.
        few: The data of that run.
        parts: All of the data, in the same order, part by part.
    """
    tallies: dict[str, Tally] = {}
    for part in parts:
        values = _find_observed(site, few, part)
        for label, fn, value in _split_columns(name, site, values):
            tallies.setdefault(label, Tally(fn)).add(value)
    for label, tally in tallies.items():
        tally.refuse(label)


def _find_observed(site: dict, few: tuple, part: tuple) -> Any:
    """What a site observes of a part of the data. Where it is none of them, that of `few`."""
    observed = site["infer"]["obs"]
    return next((a for a, b in zip(part, few, strict=True) if observed is b), observed)


def _split_columns(
    name: str, site: dict, observed: Tensor
) -> list[tuple[str, Distribution, Tensor]]:
    """Each distribution that observes something, and the values that count."""
    fn, values = site["fn"], _take_unmasked(observed, site["mask"])
    if isinstance(fn, Missing):
        fn = fn.complete
    if not isinstance(fn, Product):
        return [(name, fn, values)]
    columns = fn.split(values)
    return [(f"column {key!r} of {name}", fn.parts[key], column) for key, column in columns.items()]


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


def _check_type(name: str, fn: Distribution, values: Tensor) -> None:
    known = find_support(fn)
    if known is None or values.is_floating_point() or elementwise(known).is_discrete:
        return
    raise TypeError(
        f"{name} is made of integers ({values.dtype}), and the support of {_name_family(fn)} is "
        f"continuous. Convert it, {name}.float(), and scale it as you mean it; or use a family "
        "of counts or classes (pv.Poisson, pv.Categorical)."
    )


def _is_inside(fn: Distribution, values: Tensor, corners: Tensor | None) -> bool:
    known = find_support(fn)
    if known is None or is_real(known):  # that they are finite is looked at elsewhere
        return True

    support = elementwise(known)
    if corners is not None and isinstance(support, BETWEEN_BOUNDS):
        has_fractions = support.is_discrete and not _is_whole(values)
        return not has_fractions and bool(support.check(corners).all())
    return Tally(fn).add(values).outside == 0


def _is_whole(values: Tensor) -> bool:
    return not values.is_floating_point() or torch.equal(values, values.floor())


class Tally:
    """How many values lie outside the support of a distribution, and from where to where all run.

    Values that are NaN do not count.
    """

    def __init__(self, fn: Distribution):
        known = find_support(fn)
        self.support = None if known is None else elementwise(known)
        self.family = _name_family(fn)
        self.outside, self.count = 0, 0
        self.low, self.high = math.inf, -math.inf

    def add(self, values: Tensor) -> "Tally":
        """Look at some values, `[n, *event]`."""
        if self.support is None:
            return self
        is_inside = self.support.check(values)
        is_seen = ~values.isnan()
        if not is_seen.all():
            values, is_inside = values[is_seen], is_inside[is_seen]
        if values.numel():
            self.low = min(self.low, values.min().item())
            self.high = max(self.high, values.max().item())
        self.outside += int((~is_inside).sum())
        self.count += is_inside.numel()
        return self

    def refuse(self, name: str) -> None:
        """Raise a ValueError if some lie outside, with what to do."""
        if self.support is not None and self.outside:
            advice = _advise(self.support, self.outside / self.count, self.low, self.high)
            raise ValueError(f"{name} lies outside the support of {self.family}: {advice}")


def _name_family(fn: Distribution) -> str:
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return type(fn).__name__


def _advise(support: constraints.Constraint, outside: float, low: float, high: float) -> str:
    """Which share of the values lies outside, and what to do with them."""
    share = f"{100 * outside:.3g} % of its values are"
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
