"""One pass over data: whether they are finite and within the supports, and where they are extreme.

It goes block by block, at the speed of memory, and looks closer only at what is wrong.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_vae.arguments import say_again
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.supports import find_support, is_same_support
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.obstacles import find_obstacles
from pyro_vae.weights.rows import Preparation, Rows, explain_transform
from pyro_vae.weights.support_checks import (
    CHECKED,
    check_kind,
    has_bounds_per_row,
    is_within,
    refuse_outside,
)
from pyro_vae.weights.traces import (
    is_plate,
    latent_values,
    log_prob,
    observed_sites,
    quietly,
    sample_sites,
    trace,
    uncondition,
)

HUGE = 1e12  # what no edge of a support is that people have; squares of it overflow
EDGE = 2000  # rows with extreme values of which log p(x | z) is computed
LISTED = 5  # rows that are named

Part = tuple[Tensor, ...]


def takes_missing(pair: nn.Module) -> bool:
    """Whether NaN in x is a missing value to the pair, see `conditionals.missing`."""
    if isinstance(pair, ChecksData) and pair.takes_missing:
        return True
    parts = [part for part in pair.modules() if isinstance(part, Conditional)]
    return any(part.takes_missing for part in parts)


def check_finite(pair: nn.Module, data: Part) -> None:
    """Refuse data that hold NaN, where none may be missing, or infinity. See `survey`."""
    rows = Rows(data, Preparation(data[0].device, None, None))
    look = Survey(pair, rows)
    for _, part in rows.cut():
        look.check_finite(part)


def survey(pair: nn.Module, rows: Rows) -> "Survey":
    """Refuse data that do not fit a pair: finite, of the event shape, and within the support.

    The support is compared for all of the data. A density can be infinite only at the edge of its
    support, so log p(x | z) is computed for the rows that hold the least and the largest value of
    each number of x, and must be finite there.

    Returns:
        What looked at them, and can look at more.

    Raises:
        TypeError: if x is made of integers and the likelihood's support is continuous.
        ValueError: if the data do not fit, with what to do.
    """
    look = Survey(pair, rows)
    extremes = Extremes()
    with quietly(pair), _RefuseLargeSubsample(), explain_plates():
        for start, raw in rows.cut():
            part, corners = look.at(start, raw)
            extremes.add(start, part[0], corners)
        with explain_transform(rows.prepare.transform):
            _check_edge(pair, rows, extremes.list_rows())
    return look


class Survey:
    """Looks at the data of a pair, block by block. Use it inside `quietly`.

    Attributes:
        pair: The pair.
        rows: All of the data, of which an error counts how many are wrong.
    """

    def __init__(self, pair: nn.Module, rows: Rows):
        self.pair = pair
        self.rows = rows
        self.few: Part = ()
        self.sites: dict[str, dict] = {}
        self.has_own_bounds = False

    def at(self, start: int, raw: Part) -> tuple[Part, "Corners"]:
        """Look at a block.

        Arguments:
            start: The number of its first row.
            raw: The block, unprepared.

        Returns:
            The block, prepared, and the corners of x.

        Raises:
            TypeError, ValueError: see `survey`.
        """
        prepare = self.rows.prepare
        placed = prepare.place(raw)
        corners = self.check_finite(placed)
        part = self._finish(start, placed, corners[0])
        with explain_transform(prepare.transform):
            if prepare.transform is not None:
                corners[0] = self._check_transformed(start, part[0])
            self._ask_pair(start, part)
            if not self.sites:
                self._meet(tuple(d[:2] for d in part))
            self._check_supports(start, part, corners)
        return part, corners[0]

    def _finish(self, start: int, placed: Part, corners: "Corners") -> Part:
        """The block, prepared. Draws of zeros and ones are made of the first block alone.

        They take six times what all else takes, and any zeros and ones are as good to look at.
        """
        prepare = self.rows.prepare
        if start and prepare.transform is torch.bernoulli and corners.are_probabilities():
            prepare = Preparation(prepare.device, prepare.precision, torch.round)
        return prepare.finish(placed)

    def check_finite(self, placed: Part) -> list["Corners"]:
        """Refuse a block that holds NaN, where none may be missing, or infinity."""
        corners = [Corners(values) for values in placed]
        for i, values in enumerate(placed):
            if self._has_bad(i, values, corners[i]):
                name = f"data[{i}]" if i else "x"
                blocks = (
                    (start, self.rows.prepare.place(raw)[i]) for start, raw in self.rows.cut()
                )
                refuse_not_finite(name, blocks, self._allows_missing(i))
        return corners

    def _check_transformed(self, start: int, x: Tensor) -> "Corners":
        corners = Corners(x)
        if self._has_bad(0, x, corners):
            refuse_not_finite("x", iter([(start, x)]), self._allows_missing(0))
        return corners

    def _has_bad(self, i: int, values: Tensor, corners: "Corners") -> bool:
        """Whether some are infinite, NaN where none may be missing, or missing in a whole row."""
        if isinstance(self.pair, ChecksData) and self.pair.takes_missing:
            return False
        if not corners.has_missing:
            return corners.has_infinite
        return corners.has_infinite or not self._allows_missing(i) or has_unseen(values)

    def _allows_missing(self, i: int) -> bool:
        return i == 0 and takes_missing(self.pair)

    def _ask_pair(self, start: int, part: Part) -> None:
        if not isinstance(self.pair, ChecksData):
            return
        try:
            self.pair.check_data(*part)
        except (TypeError, ValueError) as error:
            if not start:
                raise
            raise say_again(error, f"{error} (rows are counted from row {start})") from error

    def _meet(self, few: Part) -> None:
        """Run the pair on a few rows, to see what observes the data."""
        self.few = few
        for name, site in _observed(self.pair, self.few).items():
            check_kind(name, site)
        self.sites = _observed(self.pair, self.few)
        self.has_own_bounds = any(map(_has_bounds_per_row, self.sites.values()))
        trace(self.pair.guide, self.few)

    def _check_supports(self, start: int, part: Part, corners: list["Corners"]) -> None:
        if self.has_own_bounds:
            _check_by_rows(self.pair, part)
            return

        known = tuple(c.ends for c in corners)
        for name, site in self.sites.items():
            if is_within(site, self.few, part, known):
                continue
            # the support may be that of the rows at hand: a multinomial of their largest total
            is_masked = any(isinstance(site["mask"], Tensor) for site in self.sites.values())
            if not is_masked and self._is_same_for_all():
                refuse_outside(name, site, self.few, self._list_parts(start, part))
            self.has_own_bounds = True
            for other in self._list_parts(start, part):
                _check_by_rows(self.pair, other)
            return

    def _list_parts(self, start: int, part: Part) -> Iterator[Part]:
        """All blocks, prepared. A random transform is not drawn again for the one at hand."""
        for other, raw in self.rows.cut():
            yield part if other == start else self.rows.prepare(raw)

    def _is_same_for_all(self) -> bool:
        """Whether the supports of a few rows are those of all parts of the data."""
        for _, raw in self.rows.cut():
            for _, part in cut(self.rows.prepare(raw), CHECKED):
                for name, site in _observed(self.pair, part).items():
                    if not _is_same(self.sites[name], site):
                        return False
        return True


def _is_same(a: dict, b: dict) -> bool:
    """Whether two sites have one support, as far as their classes say it."""
    ours, theirs = find_support(a["fn"]), find_support(b["fn"])
    return ours is None or theirs is None or is_same_support(ours, theirs)


def _check_by_rows(pair: nn.Module, part: Part) -> None:
    """Compare rows with the supports that are their own. Random states are left alone."""
    devices = [part[0].device] if part[0].is_cuda else []
    with torch.random.fork_rng(devices=devices):
        for _, rows in cut(part, CHECKED):
            for name, site in _observed(pair, rows).items():
                refuse_outside(name, site, rows, [rows])


def _has_bounds_per_row(site: dict) -> bool:
    support = find_support(site["fn"])
    return support is not None and has_bounds_per_row(support)


def _observed(pair: nn.Module, data: Part) -> dict[str, dict]:
    """The sites that the model observes, run without the observation."""
    sites = sample_sites(trace(uncondition(pair.model), data))
    return {name: site for name, site in sites.items() if site["infer"].get("was_observed")}


class Corners:
    """The least and the largest value of each number of a block `[rows, *event]`.

    Attributes:
        low, high: `[*event]`, without what is missing. Where all is missing, ∞ and -∞.
        has_missing: Whether there is NaN.
        has_infinite: Whether there is an infinite value.
        ends: Both, `[2, *event]`, in the type of the block, or None where something is missing.
    """

    def __init__(self, values: Tensor):
        values = values.to(torch.uint8) if values.dtype == torch.bool else values
        self.low, self.high = values.amin(0), values.amax(0)
        self.has_missing = self.has_infinite = False
        self.ends: Tensor | None = None
        if values.is_floating_point():
            self._look_closer(values)
        if not self.has_missing:
            self.ends = torch.stack([self.low, self.high])

    def are_probabilities(self) -> bool:
        """Whether all numbers are within [0, 1], in a floating type."""
        if self.ends is None or not self.ends.is_floating_point():
            return False
        return bool(self.low.ge(0).all() and self.high.le(1).all())

    def _look_closer(self, values: Tensor) -> None:
        self.has_missing = bool(self.low.isnan().any())
        if self.has_missing:
            self.low, self.high = (
                _fill(values, torch.inf).amin(0),
                _fill(values, -torch.inf).amax(0),
            )
        self.has_infinite = bool((self.low.eq(-torch.inf) | self.high.eq(torch.inf)).any())


class Extremes:
    """The rows that hold the least and the largest value of each number of x, the first of them."""

    def __init__(self) -> None:
        self.sides: dict[str, tuple[Tensor, Tensor]] = {}
        self.gaps: list[int] = []
        self.rows = 0
        self.numbers = 1

    def add(self, start: int, x: Tensor, corners: Corners) -> None:
        """Look at a block, whose first row is `start`."""
        self.rows += x.shape[0]
        self.numbers = count_numbers(x)
        flat = flatten(x.to(torch.uint8) if x.dtype == torch.bool else x)
        if corners.has_missing:
            with_gaps = flat.isnan().any(1).nonzero().flatten()[:2]
            self.gaps += (with_gaps + start).tolist()
        self._update("low", start, flat, corners)
        self._update("high", start, flat, corners)

    def _update(self, side: str, start: int, flat: Tensor, corners: Corners) -> None:
        is_low = side == "low"
        ends = (corners.low if is_low else corners.high).flatten()
        is_first = side not in self.sides
        if is_first:
            self.sides[side] = (ends.clone(), torch.zeros_like(ends, dtype=torch.long))
        best, rows = self.sides[side]
        is_further = ends < best if is_low else ends > best
        columns = (is_further | is_first).nonzero().flatten()
        if not columns.numel():
            return

        values = flat[:, columns]
        if corners.has_missing:
            values = _fill(values, torch.inf if is_low else -torch.inf)
        best[columns] = ends[columns]
        rows[columns] = start + (values.argmin(0) if is_low else values.argmax(0))

    def list_rows(self) -> Tensor:
        """Those rows and a few others, each once, in their order."""
        (low, low_rows), (high, high_rows) = self.sides["low"], self.sides["high"]
        first = torch.arange(min(2, self.rows), device=low_rows.device)
        gaps = torch.tensor(self.gaps[:2], dtype=torch.long, device=low_rows.device)
        ends = torch.stack([low_rows[low.argmin()], high_rows[high.argmax()]])
        found = torch.cat([first, gaps, low_rows, high_rows]).unique()

        fitting = min(EDGE, count_fitting(self.numbers))
        if len(found) <= fitting:
            return found
        return torch.cat([first, gaps, ends, found[:fitting]]).unique()


def _fill(values: Tensor, stand_in: float) -> Tensor:
    """With something in the place of NaN."""
    return values.nan_to_num(nan=stand_in, posinf=torch.inf, neginf=-torch.inf)


def has_unseen(values: Tensor) -> bool:
    """Whether there is a row in which everything is missing."""
    return bool(flatten(values.isnan()).all(1).any())


def refuse_not_finite(
    name: str, blocks: Iterator[tuple[int, Tensor]], allows_missing: bool
) -> None:
    """Raise a ValueError that says how many values are NaN or infinite, and in which rows.

    Arguments:
        name: The name of the values.
        blocks: All blocks of them, and the number of the first row of each.
        allows_missing: Whether NaN is a value that is missing.
    """
    count, has_nan = 0, False
    rows: list[int] = []
    unseen: list[int] = []
    for start, values in blocks:
        is_missing = values.isnan()
        bad = ~values.isfinite() & ~(is_missing & allows_missing)
        count += int(bad.sum())
        has_nan = has_nan or bool(is_missing.any())
        rows += _number_rows(flatten(bad).any(1), start)
        unseen += _number_rows(flatten(is_missing).all(1), start)

    if count:
        cure = _find_cure(name, has_nan and not allows_missing)
        raise ValueError(
            f"{name} holds {count} values that are NaN or infinite, {_name_rows(rows)}. {cure}."
        )
    raise ValueError(
        f"{name}: every value is missing {_name_rows(unseen)}. Remove those rows, nothing is "
        "known of them."
    )


def _number_rows(flags: Tensor, start: int) -> list[int]:
    """The rows that are flagged, and not more than can be named and one."""
    return (flags.nonzero().flatten()[: LISTED + 1] + start).tolist()


def _name_rows(rows: list[int]) -> str:
    more = " and more" if len(rows) > LISTED else ""
    return f"in rows {rows[:LISTED]}{more}"


def _find_cure(name: str, has_nan: bool) -> str:
    cure = "Remove those rows, or fill the values in"
    if not has_nan:
        return cure
    if name == "x":
        return f"{cure}; or take NaN as missing, likelihood=pv.missing(...)"
    return (
        f"{cure}; or, where NaN marks what is missing, write the pair as a "
        "pyro_vae.pairs.admission.ChecksData with takes_missing = True"
    )


def flatten(values: Tensor) -> Tensor:
    """`[n, *event]` as `[n, numbers]`."""
    return values.reshape(values.shape[0], -1)


@contextmanager
def explain_plates() -> Iterator[None]:
    """Inside this context, Pyro's error on a plate of another size says what size it should have.

    A few rows are run, so a size that is written as a number does not fit even where it is right.
    """
    try:
        yield
    except ValueError as error:
        first = str(error).partition("\n")[0]
        if "inside plate" not in first:
            raise
        raise ValueError(
            f"{first}. Give the plate over the data its size, pyro.plate('data', x.shape[0])"
        ) from error


class _RefuseLargeSubsample(Messenger):
    """Inside this context, a plate that subsamples more rows than it is given raises a ValueError.

    Pyro itself says then that model and guide differ.
    """

    def _pyro_sample(self, msg: dict) -> None:
        if not is_plate(msg):
            return
        size, chosen = msg["fn"].size, msg["fn"].subsample_size
        if chosen is not None and chosen > size:
            raise ValueError(
                f"the plate {msg['name']!r} subsamples; pass the subset of x as the data instead"
            )


def _check_edge(pair: nn.Module, rows: Rows, edge: Tensor) -> None:
    """Refuse data at which log p(x | z) is not finite."""
    edge = edge[:EDGE]
    part = rows.take(edge)

    guide_trace = trace(pair.guide, part)
    if part[0].isnan().any():
        _check_draws_of_gaps(guide_trace)
    model_trace = trace(pair.model, part, latents=latent_values(guide_trace))
    if find_obstacles(model_trace, guide_trace):
        return  # such a pair has no log p(x | z) per row, which is said elsewhere

    zeros = torch.zeros(part[0].shape[0], device=part[0].device)
    log_p = sum((log_prob(site) for site in observed_sites(model_trace).values()), zeros)
    bad = ~log_p.isfinite()
    if bad.any():
        place = bad.flatten().nonzero()[0, 0]
        said = f"log p(x | z) is {log_p[bad][0].item()} at row {int(edge[place])} of x: "
        largest = part[0][place].abs().nan_to_num(0.0).max().item()
        if largest > HUGE:
            raise ValueError(
                f"{said}it holds {largest:g}, and densities of such numbers cannot be computed. "
                "Bring x to order one, (x - x.mean(0)) / x.std(0) for example."
            )
        raise ValueError(
            f"{said}its values touch the edge of the likelihood's support, where its density is "
            "zero or infinite. Move them off it, x.clamp(1e-3, 1 - 1e-3) for values between 0 and "
            "1, or use a family that is finite there (pv.ContinuousBernoulli, pv.Normal)."
        )


def _check_draws_of_gaps(guide_trace: poutine.Trace) -> None:
    for value in latent_values(guide_trace).values():
        if value.is_floating_point() and value.isnan().any():
            raise ValueError(
                "the guide draws NaN where x has missing values: tell its network what is missing, "
                "variational=pv.Normal(..., net=pv.masked(pv.networks.mlp))"
            )
