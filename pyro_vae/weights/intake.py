"""Data and pairs that are admitted to training and measurement, or refused with the cure."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_vae.arguments import check_pair, say
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.supports import find_support, is_same_support
from pyro_vae.weights.comparison import compare_draws
from pyro_vae.weights.listed import is_marked
from pyro_vae.weights.obstacles import find_obstacles, refuse_obstacles
from pyro_vae.weights.support_checks import check_observed, has_bounds_per_row
from pyro_vae.weights.traces import (
    is_plate,
    latent_sites,
    latent_values,
    log_prob,
    observed_sites,
    quietly,
    sample_sites,
    trace,
    uncondition,
)

CHECKED = 4096  # rows that are compared with the support at a time
HUGE = 1e12  # what no edge of a support is that people have; squares of it overflow
EDGE = 2000  # rows with extreme values of which log p(x | z) is computed


def admit(pair: nn.Module, data: tuple) -> tuple[Tensor, ...]:
    """Data for measuring a pair: checked, and on the device of the pair.

    Raises:
        TypeError, ValueError: if the data do not fit, see `check_data`; or if the pair has no
            weight per datum.
    """
    data = check_data(pair, data)
    device = find_device(pair, data[0].device)
    data = tuple(d.to(device) for d in data)

    refuse_pair(pair, data)
    return data


def refuse_pair(pair: nn.Module, data: tuple) -> None:
    """Raise a ValueError if a pair has no weight per datum. Random states are left alone.

    A few rows are enough to see it. Two numbers of rows are tried, because a plate over something
    else may have the size of one of them.
    """
    few = tuple(d[:2] for d in data)
    devices = [data[0].device] if data[0].is_cuda else []
    with torch.random.fork_rng(devices=devices), quietly(pair), _explain_plates():
        _refuse_run(pair, few)
        _refuse_run(pair, tuple(d[:3] for d in data))

    differences = compare_draws(pair, few)
    if differences:
        raise ValueError("this pair has no weight per datum: " + "; ".join(differences))


def _refuse_run(pair: nn.Module, data: tuple) -> None:
    """Refuse what one run of the guide and the model shows."""
    guide_trace = trace(pair.guide, data)
    model_trace = trace(pair.model, data, latents=latent_values(guide_trace))

    refuse_obstacles(model_trace, guide_trace)
    if any(is_marked(site) for site in latent_sites(guide_trace).values()):
        trace(pair.guide, data, lists=True)  # it refuses what cannot be listed
    for run in (model_trace, guide_trace):
        _refuse_bare_parameters(pair, run)


def _refuse_bare_parameters(pair: nn.Module, run: poutine.Trace) -> None:
    """Refuse a `pyro.param` that belongs to no module: training would leave it as it is."""
    own = {id(parameter) for parameter in pair.parameters()}
    for name, site in run.nodes.items():
        if site["type"] == "param" and id(site["value"].unconstrained()) not in own:
            raise ValueError(
                f"pyro.param({name!r}) belongs to no module of the pair, so that training would "
                "leave it as it is. Make it an nn.Parameter of the module, or take "
                "pv.Pair(module.model, module.guide), which adopts it."
            )


def find_device(pair: nn.Module, otherwise: torch.device) -> torch.device:
    """Where the parameters of a pair lie, or else the device given."""
    return next((p.device for p in pair.parameters()), otherwise)


def find_precision(pair: nn.Module) -> torch.dtype | None:
    """The floating type of a pair's parameters, or None where it has none."""
    return next((p.dtype for p in pair.parameters() if p.is_floating_point()), None)


def takes_missing(pair: nn.Module) -> bool:
    """Whether NaN in x is a missing value to the pair, see `conditionals.missing`."""
    if isinstance(pair, ChecksData) and pair.takes_missing:
        return True
    parts = [part for part in pair.modules() if isinstance(part, Conditional)]
    return any(part.takes_missing for part in parts)


def as_tensors(pair: nn.Module, data: tuple) -> tuple[Tensor, ...]:
    """The data as tensors of equal length.

    Floating data get the precision of the pair's parameters. A pair without parameters takes them
    in their own.

    Raises:
        TypeError: if something is neither a tensor nor an array of numbers.
        ValueError: if there are none, or their lengths differ, or they hold NaN or infinity.
    """
    check_pair(pair)
    if not data:
        raise ValueError("x: expected data, got none")

    precision = find_precision(pair)
    allows_missing = takes_missing(pair)
    looks_itself = isinstance(pair, ChecksData) and pair.takes_missing
    tensors: list[Tensor] = []
    for i, values in enumerate(data):
        name = f"data[{i}]" if i else "x"
        tensor = as_rows(name, values)
        if tensors and tensor.shape[0] != tensors[0].shape[0]:
            rows = tensors[0].shape[0]
            raise ValueError(f"{name}: expected as many rows as x, {rows}, got {tensor.shape[0]}")
        if not looks_itself:
            _check_finite(name, tensor, allows_missing and i == 0)
        if precision is not None and tensor.is_floating_point():
            tensor = tensor.to(precision)
        tensors.append(tensor)
    return tuple(tensors)


def as_rows(name: str, values: object) -> Tensor:
    """A tensor with a row for each datum, of a tensor or an array of numbers.

    Raises:
        TypeError: if it is neither, or of complex numbers.
        ValueError: if it has no rows, or is sparse.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = torch.from_numpy(values)
    if not isinstance(values, Tensor):
        raise TypeError(
            f"{name}: expected a tensor [n, *event], got {say(values)}; see pyro_vae.data.load, "
            "and pyro_vae.data.to_dense for sparse counts"
        )
    if values.is_complex():
        raise TypeError(
            f"{name}: expected real numbers, got complex ones; torch.view_as_real gives their two "
            "parts"
        )
    if values.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor, got {values.layout}; see x.to_dense()")
    if values.dim() == 0 or values.shape[0] == 0:
        shape = list(values.shape)
        raise ValueError(f"{name} is empty: expected at least one row, got shape {shape}")
    return values


def _check_finite(name: str, values: Tensor, allows_missing: bool) -> None:
    missing = values.isnan() if allows_missing else torch.zeros_like(values, dtype=torch.bool)
    bad = ~values.isfinite() & ~missing
    if bad.any():
        cure = "Remove those rows, or fill the values in"
        if name == "x" and values.isnan().any() and not allows_missing:
            cure += "; or take NaN as missing, likelihood=pv.missing(...)"
        if name != "x" and values.isnan().any():
            cure += (
                "; or, where NaN marks what is missing, write the pair as a "
                "pyro_vae.pairs.admission.ChecksData with takes_missing = True"
            )
        count = int(bad.sum())
        raise ValueError(
            f"{name} holds {count} values that are NaN or infinite, {_list_rows(bad)}. {cure}."
        )

    unseen = missing.reshape(values.shape[0], -1).all(1)
    if missing.any() and unseen.any():
        raise ValueError(
            f"{name}: every value is missing {_list_rows(unseen)}. Remove those rows, nothing is "
            "known of them."
        )


def _list_rows(bad: Tensor) -> str:
    rows = bad.reshape(bad.shape[0], -1).any(1).nonzero().flatten().tolist()
    more = " and more" if len(rows) > 5 else ""
    return f"in rows {rows[:5]}{more}"


def check_data(pair: nn.Module, data: tuple) -> tuple[Tensor, ...]:
    """Data for a pair: finite, of the likelihood's event shape, and within its support.

    The support is compared for all of the data. A density can be infinite only at the edge of its
    support, so log p(x | z) is computed for the rows that hold the least and the largest value of
    each number of x, and must be finite there.

    Returns:
        The data, as `as_tensors` gives them.

    Raises:
        TypeError: if x is made of integers and the likelihood's support is continuous.
        ValueError: if the data do not fit, with what to do.
    """
    data = as_tensors(pair, data)
    if isinstance(pair, ChecksData):
        pair.check_data(*data)
    few = tuple(d[:2] for d in data)
    with quietly(pair), _RefuseLargeSubsample(), _explain_plates():
        _check_supports(pair, few, data)
        trace(pair.guide, few)
        _check_edge(pair, data)
    return data


@contextmanager
def _explain_plates() -> Iterator[None]:
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


def _check_supports(pair: nn.Module, few: tuple, data: tuple) -> None:
    """Compare all of the data with the supports of the sites that the model observes."""
    sites = _observed(pair, few)
    if any(_has_bounds_per_row(site) for site in sites.values()):
        _check_by_parts(pair, data)
        return

    try:
        for name, site in _observed(pair, few).items():
            check_observed(name, site, few, data)
    except ValueError:
        # the support may be that of the rows at hand: a multinomial of their largest total
        is_masked = any(isinstance(site["mask"], Tensor) for site in sites.values())
        if not is_masked and _is_same_for_all(pair, sites, data):
            raise
        _check_by_parts(pair, data)


def _check_by_parts(pair: nn.Module, data: tuple) -> None:
    """Compare each part of the data with the supports of its own rows."""
    for part in _cut_parts(data):
        for name, site in _observed(pair, part).items():
            check_observed(name, site, part, part)


def _cut_parts(data: tuple) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(d.split(CHECKED) for d in data), strict=True)


def _is_same_for_all(pair: nn.Module, sites: dict[str, dict], data: tuple) -> bool:
    """Whether the supports of a few rows are those of all parts of the data."""
    for part in _cut_parts(data):
        for name, site in _observed(pair, part).items():
            ours, theirs = find_support(sites[name]["fn"]), find_support(site["fn"])
            if ours is not None and theirs is not None and not is_same_support(ours, theirs):
                return False
    return True


def _has_bounds_per_row(site: dict) -> bool:
    support = find_support(site["fn"])
    return support is not None and has_bounds_per_row(support)


def _observed(pair: nn.Module, data: tuple) -> dict[str, dict]:
    """The sites that the model observes, run without the observation."""
    sites = sample_sites(trace(uncondition(pair.model), data))
    return {name: site for name, site in sites.items() if site["infer"].get("was_observed")}


def _check_edge(pair: nn.Module, data: tuple) -> None:
    """Refuse data at which log p(x | z) is not finite."""
    edge = _find_edge(data[0])
    part = tuple(d[edge[:EDGE]] for d in data)

    guide_trace = trace(pair.guide, part)
    if data[0].isnan().any():
        _check_draws_of_gaps(guide_trace)
    model_trace = trace(pair.model, part, latents=latent_values(guide_trace))
    if find_obstacles(model_trace, guide_trace):
        return  # such a pair has no log p(x | z) per row, which is said elsewhere

    rows = torch.zeros(part[0].shape[0], device=part[0].device)
    log_p = sum((log_prob(site) for site in observed_sites(model_trace).values()), rows)
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


def _find_edge(x: Tensor) -> Tensor:
    """The rows that hold the least and the largest value of each number, and a few others."""
    flat = x.reshape(x.shape[0], -1)
    if x.dtype == torch.bool:
        flat = flat.to(torch.uint8)
    first = torch.arange(min(2, x.shape[0]), device=x.device)
    with_gaps = flat.isnan().any(1).nonzero().flatten()[:2]
    lowest = flat.nan_to_num(torch.inf).argmin(0)
    highest = flat.nan_to_num(-torch.inf).argmax(0)

    return torch.cat([first, with_gaps, lowest, highest]).unique()


def _check_draws_of_gaps(guide_trace: poutine.Trace) -> None:
    for value in latent_values(guide_trace).values():
        if value.is_floating_point() and value.isnan().any():
            raise ValueError(
                "the guide draws NaN where x has missing values: tell its network what is missing, "
                "variational=pv.Normal(..., net=pv.masked(pv.networks.mlp))"
            )
