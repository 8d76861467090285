"""Data and pairs that are admitted to training and measurement, or refused with the cure."""

import warnings

import numpy as np
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vae.arguments import check_pair, say
from pyro_vae.weights.comparison import compare_draws
from pyro_vae.weights.listed import is_marked
from pyro_vae.weights.obstacles import refuse_obstacles
from pyro_vae.weights.rows import Preparation, Rows, to_precision, widen
from pyro_vae.weights.survey import explain_plates, survey
from pyro_vae.weights.traces import latent_sites, latent_values, quietly, trace

UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


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
    with torch.random.fork_rng(devices=devices), quietly(pair), explain_plates():
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


def as_tensors(pair: nn.Module, data: tuple) -> tuple[Tensor, ...]:
    """The data as tensors of equal length, in the types that the pair takes.

    Floating data get the precision of the pair's parameters. A pair without parameters takes them
    in their own. Small integers become int64.

    Raises:
        TypeError: if something is neither a tensor nor an array of numbers.
        ValueError: if there are none, or their lengths differ.
    """
    check_pair(pair)
    precision = find_precision(pair)
    return tuple(widen(to_precision(d, precision)) for d in read_tensors(data))


def read_tensors(data: tuple) -> tuple[Tensor, ...]:
    """The data as tensors of equal length, in the types that they have, over the same memory.

    Raises:
        TypeError, ValueError: see `as_tensors`.
    """
    if not data:
        raise ValueError("x: expected data, got none")

    tensors: list[Tensor] = []
    for i, values in enumerate(data):
        name = f"data[{i}]" if i else "x"
        tensor = as_rows(name, values)
        if tensors and tensor.shape[0] != tensors[0].shape[0]:
            rows = tensors[0].shape[0]
            raise ValueError(f"{name}: expected as many rows as x, {rows}, got {tensor.shape[0]}")
        tensors.append(tensor)
    return tuple(tensors)


def as_rows(name: str, values: object) -> Tensor:
    """A tensor with a row for each datum, of a tensor or an array of numbers.

    Raises:
        TypeError: if it is neither, or of complex numbers.
        ValueError: if it has no rows, or is sparse.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = _share_memory(values)
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
    # torch computes with hardly any unsigned integers
    return values.long() if values.dtype in UNSIGNED else values


def _share_memory(array: np.ndarray) -> Tensor:
    """An array as a tensor over the same memory, also where it may only be read.

    What torch cannot read, other byte orders and backward strides, is copied.
    """
    if not array.dtype.isnative or any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def check_data(pair: nn.Module, data: tuple) -> tuple[Tensor, ...]:
    """Data for a pair: finite, of the likelihood's event shape, and within its support.

    Returns:
        The data, as `as_tensors` gives them.

    Raises:
        TypeError, ValueError: if the data do not fit, with what to do, see `survey`.
    """
    data = as_tensors(pair, data)
    device = find_device(pair, data[0].device)
    survey(pair, Rows(data, Preparation(device, None, None)))
    return data
