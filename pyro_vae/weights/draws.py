"""Draws from a pair: z and x from p, and z from q decoded."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_vae.arguments import as_tensor, check_flag, check_pair, check_type, check_whole
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.pairs.sequence import SequenceVAE
from pyro_vae.pairs.vae import VAE
from pyro_vae.weights.intake import as_rows
from pyro_vae.weights.traces import (
    latent_values,
    quietly,
    sample_sites,
    trace,
    uncondition,
    valued_sites,
)


def simulate(
    pair: nn.Module,
    *data: Tensor | int,
    given: Tensor | int | Sequence[Tensor] | None = None,
    mean: bool = False,
) -> dict[str, Tensor]:
    """Draw z ~ p(z) and x ~ p(x | z): one named way, for every pair.

    Arguments:
        pair: The pair.
        data: What the model is called with; x is a template whose values are ignored, as many are
            drawn as it has rows. For a `VAE` or a `SequenceVAE` the number itself will do.
        given: What follows x, for a number of draws. Of a `VAE` they are covariates, each
            `[n, *shape]`, or one row `[*shape]` for all draws. Of a `SequenceVAE` they are the
            lengths, whole numbers `[n]`, or one for all draws. Values beyond them are padding.
        mean: The mean of p(x | z) in place of a draw of x, where the family has one.

    Returns:
        The value of every site by name, `[n, *event]`.

    Raises:
        TypeError: if the data are neither a number of draws nor tensors.
        ValueError: if the number of draws is not positive, the pair does not say the shape of x, or
            `given` has other shapes than the covariates, or values that the pair does not take.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> {name: tuple(value.shape) for name, value in pv.simulate(vae, 5).items()}
        {'z': (5, 2), 'x': (5, 3)}
    """
    check_pair(pair)
    mean = check_flag("mean", mean)
    if not data:
        raise ValueError("data: expected a number of draws, or a template x, got none")
    if not isinstance(data[0], Tensor | np.ndarray):
        following: Any = data[1:] if given is None else given
        data = _make_data(pair, check_whole("data", data[0]), following)
    elif given is not None:
        raise ValueError(
            "given: it goes with a number of draws; after a template x the covariates follow it, "
            "simulate(pair, x, c)"
        )

    data = _read(data)
    _check_following(pair, data)
    with quietly(pair):
        run = trace(uncondition(pair.model), data, latents=list_given(pair, data))
        return _collect_values(run, mean)


def _read(data: tuple) -> tuple[Tensor, ...]:
    """What follows a pair as tensors, x first."""
    return tuple(as_rows(f"data[{i}]" if i else "x", values) for i, values in enumerate(data))


def _check_following(pair: nn.Module, data: tuple) -> None:
    if isinstance(pair, VAE | SequenceVAE):
        pair.check_data(*data)


def _make_data(pair: nn.Module, count: int, given: Any) -> tuple:
    """What the model is called with, for so many draws."""
    if isinstance(pair, SequenceVAE):
        return pair.make_template(count, given)

    return make_template(pair, count), *_spread_given(pair, count, given)


def list_given(pair: nn.Module, data: tuple) -> dict[str, Tensor]:
    """What the model observes and is given all the same while x is drawn: labels, for example."""
    return pair.list_given(*data) if isinstance(pair, ChecksData) else {}


def make_template(pair: nn.Module, count: int) -> Tensor:
    """As many rows of zeros as x shall have."""
    likelihood = pair.likelihood if isinstance(pair, VAE) else None
    if not isinstance(likelihood, Conditional) or count < 1:
        raise ValueError(
            "data: expected a positive number of draws, and a pair whose likelihood says its "
            f"event_shape, got {count}; otherwise pass a template tensor x of as many rows as you "
            "want"
        )

    like = next(pair.parameters(), torch.zeros(()))
    return like.new_zeros(count, *likelihood.event_shape)


def _spread_given(
    pair: nn.Module, count: int, given: Tensor | Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The covariates as one row for each draw."""
    shapes = pair.covariates.shapes if isinstance(pair, VAE) else []
    several = given if isinstance(given, list | tuple) else (given,)
    values = [as_tensor("given", value) for value in several]
    if len(values) != len(shapes):
        raise ValueError(
            f"given: expected {len(shapes)} covariate(s) of shapes {shapes}, got {len(values)}"
        )

    rows = []
    for value, shape in zip(values, shapes, strict=True):
        if tuple(value.shape) not in (shape, (count, *shape)):
            raise ValueError(
                f"given: expected a covariate of shape {(count, *shape)}, or {shape} for all "
                f"draws, got {tuple(value.shape)}"
            )
        rows.append(value.expand(count, *shape))
    return tuple(rows)


def reconstruct(
    pair: nn.Module, *data: Tensor, mean: bool = True, at: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Draw z ~ q(z | x), then x ~ p(x | z), or its mean.

    Arguments:
        pair: The pair.
        data: The data, x first.
        mean: The mean of p(x | z) in place of a draw of x, where the family has one.
        at: Values of z by site, `[n, *event]`, to decode those instead of draws of q(z | x). A
            latent that is not named is drawn from the model, given those that are.

    Returns:
        The value of every site by name, `[n, *event]`.

    Raises:
        TypeError: if the data or values are no tensors.
        ValueError: if there are no data, or `at` names what is no latent, or has another shape.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> pv.reconstruct(vae, torch.ones(5, 3))["x"].shape
        torch.Size([5, 3])
    """
    check_pair(pair)
    mean = check_flag("mean", mean)
    if not data:
        raise ValueError("x: expected data, got none")
    data = _read(data)
    with quietly(pair):
        z = latent_values(trace(pair.guide, data)) if at is None else _read_at(pair, data, at)
        fixed = list_given(pair, data) | z
        run = trace(uncondition(pair.model), data, latents=fixed)
        return _collect_values(run, mean)


def _read_at(pair: nn.Module, data: tuple, at: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values of latents by site, refused unless the model has such latents, of such shapes."""
    check_type("at", at, Mapping, "values of z by the name of the site, {'z': z}")
    few = tuple(d[:2] for d in data)
    with torch.random.fork_rng(devices=[data[0].device] if data[0].is_cuda else []):
        sites = sample_sites(trace(uncondition(pair.model), few, latents=list_given(pair, few)))
    latents = {name: s for name, s in sites.items() if not s["infer"].get("was_observed")}

    wrong = [name for name in at if name not in latents]
    if wrong or not at:
        known = ", ".join(map(repr, latents))
        raise ValueError(f"at: expected values of {known}, got {wrong or 'none'}")
    values = {name: as_tensor(f"at[{name!r}]", value) for name, value in at.items()}
    for name, value in values.items():
        shape = (data[0].shape[0], *latents[name]["value"].shape[1:])
        if value.shape != shape:
            raise ValueError(f"at[{name!r}]: expected shape {shape}, got {tuple(value.shape)}")
    return values


def _collect_values(run: Trace, mean: bool) -> dict[str, Tensor]:
    """The value of each site by name, with means in place of what was observed, if asked for."""
    values = {}
    for name, site in valued_sites(run).items():
        was_observed = site["infer"].get("was_observed", False)
        values[name] = find_mean(site) if mean and was_observed else site["value"]
    return values


def find_mean(site: dict) -> Tensor:
    """The mean of a site's distribution, or its value where there is no finite mean."""
    try:
        mean = site["fn"].mean
    except NotImplementedError:
        return site["value"]
    return mean if mean.isfinite().all() else site["value"]
