"""How a pair is run: its traces under a plate of draws, their log-probabilities, draws from p."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae.pairs.parameters import OwnParameters

CHUNK = 2**23  # numbers kept at a time: draws of z, weights
DECODED = {"cpu": 2**19, "cuda": 2**27}  # numbers of x decoded at a time: a cache full, or a GPU


class Terms(NamedTuple):
    """The logarithms of which every bound is made, `[k, n]` each, in nats.

    Attributes:
        log_likelihood: log p(x | z), all that the model observes.
        log_prior: log p(z).
        log_variational: log q(z | x).
    """

    log_likelihood: Tensor
    log_prior: Tensor
    log_variational: Tensor


@contextmanager
def quietly(pair: nn.Module) -> Iterator[None]:
    """Without gradients, in eval mode, with the pair's own parameters; everything is put back."""
    modes = [(module, module.training) for module in pair.modules()]
    pair.eval()
    try:
        with torch.no_grad(), OwnParameters(), unvalidated():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def unvalidated() -> Iterator[None]:
    """Without Pyro's and torch's validation of arguments, which are both put back."""
    torch_flag = Distribution._validate_args
    try:
        with pyro.validation_enabled(False):
            yield
    finally:
        Distribution.set_default_validate_args(torch_flag)


def trace(
    fn, data: tuple, *, draws: int | None = None, latents: dict[str, Tensor] | None = None
) -> Trace:
    """One run of a model or guide.

    Arguments:
        fn: `pair.model` or `pair.guide`.
        data: What it is called with, x first.
        draws: Run under a plate of that many draws, at dimension -2.
        latents: Values of latent sites, instead of drawing them.
    """
    if latents is not None:
        fixed = Trace()
        for name, value in latents.items():
            fixed.add_node(name, name=name, type="sample", is_observed=False, value=value, infer={})
        fn = poutine.replay(fn, trace=fixed)
    with nullcontext() if draws is None else pyro.plate("_draws", draws, dim=-2):
        return poutine.trace(fn).get_trace(*data)


def sample_sites(trace: Trace) -> dict[str, dict]:
    """The sample sites of a trace, without the plates'."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not isinstance(site["fn"], _Subsample)
    }


def latent_values(trace: Trace) -> dict[str, Tensor]:
    """The values of the sites that a trace drew."""
    return {
        name: site["value"] for name, site in sample_sites(trace).items() if not site["is_observed"]
    }


def log_prob(site: dict) -> Tensor:
    """The log-probability of a site per datum: with its mask, without the scale of a subsampled plate."""
    return scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"])


def terms(
    pair: nn.Module, data: tuple, num_samples: int, z: dict[str, Tensor] | None = None
) -> Terms:
    """The terms of the bounds for draws of q(z | x), or at given z `[num_samples, n or 1, *event]`, all at once.

    Raises:
        ValueError: if the pair has no weight per datum: latents that only one side has, sites
            outside the plate "data", a plate that subsamples.
    """
    guide_trace = trace(pair.guide, data, draws=num_samples, latents=z)
    joint = log_joint(pair, data, num_samples, latent_values(guide_trace), guide_trace)
    return Terms(*joint, _summed(guide_trace, num_samples, data[0]))


def log_joint(
    pair: nn.Module,
    data: tuple,
    num_samples: int,
    z: dict[str, Tensor],
    guide_trace: Trace | None = None,
) -> tuple[Tensor, Tensor]:
    """log p(x | z) and log p(z), `[num_samples, n]` each, at given z; refuses what `terms` does, if given a trace."""
    model_trace = trace(pair.model, data, draws=num_samples, latents=z)
    problems = [] if guide_trace is None else refusals(model_trace, guide_trace)
    if problems:
        raise ValueError("this pair has no weight per datum: " + "; ".join(problems))
    return tuple(
        _summed(model_trace, num_samples, data[0], observed=which) for which in (True, False)
    )


def _summed(run: Trace, num_samples: int, x: Tensor, observed: bool = False) -> Tensor:
    """The log-probability `[k, n]` of a trace's latent, or observed, sites."""
    shape = (num_samples, x.shape[0])
    total: Tensor | float = 0.0
    for name, site in sample_sites(run).items():
        if site["is_observed"] is not observed:
            continue
        log_p = log_prob(site)
        if log_p.dim() > 2 or torch.broadcast_shapes(log_p.shape, shape) != shape:
            raise ValueError(
                f"site {name!r} has log-probabilities of shape {tuple(log_p.shape)}, expected {shape}, one per "
                "draw and datum: declare the other dimensions as the event's with .to_event(...)"
            )
        total = total + log_p
    return total.expand(shape) if isinstance(total, Tensor) else torch.zeros(shape, device=x.device)


def refusals(model_trace: Trace, guide_trace: Trace) -> list[str]:
    """Why weights per datum would be wrong, and what to do; empty if they are right."""
    problems = []
    model, guide = sample_sites(model_trace), sample_sites(guide_trace)
    in_model = {name for name, site in model.items() if not site["is_observed"]}
    in_guide = {name for name, site in guide.items() if not site["is_observed"]}
    for name in sorted(in_model - in_guide):
        problems.append(
            f"the guide lacks the latent {name!r} of the model; sample it in the guide as well"
        )
    for name in sorted(in_guide - in_model):
        problems.append(
            f"the model lacks the latent {name!r} of the guide; sample it in the model, or drop it"
        )
    for side, nodes in (("model", model), ("guide", guide)):
        for name, site in nodes.items():
            plates = {frame.name: frame for frame in site["cond_indep_stack"]}
            if "data" not in plates or plates["data"].dim != -1:
                problems.append(
                    f"site {name!r} of the {side} is outside the plate 'data'; sample it within "
                    "pyro.plate('data', x.shape[0]), as the innermost plate"
                )
    for side, nodes in (("model", model_trace.nodes), ("guide", guide_trace.nodes)):
        for name, site in nodes.items():
            if isinstance(site.get("fn"), _Subsample) and len(site["value"]) != site["fn"].size:
                problems.append(
                    f"the plate {name!r} of the {side} subsamples; pass the subset of x as the data instead"
                )
    return problems


def blocks(
    pair: nn.Module, data: tuple, num_samples: int, joint: Callable | None = None
) -> Iterator[tuple[slice, Terms]]:
    """`terms` for a block of data at a time, without gradients, in memory that does not grow with data or draws.

    z is drawn for a block at once, so that the encoder runs once, and decoded in pieces. No more
    than `CHUNK` numbers of z, and weights, are kept, unless a single datum has more. `joint`, if
    given, stands for `log_joint` where a piece has full size.
    """
    n, device = data[0].shape[0], data[0].device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), quietly(pair):
        drawn = latent_values(trace(pair.guide, tuple(d[:64] for d in data), draws=1))
    kept = max([1, *(value[0, 0].numel() for value in drawn.values() if value.dim() > 1)])
    numbers = max(1, data[0][0].numel())
    limit = DECODED[device.type if device.type in DECODED else "cpu"]
    rows = max(1, min(n, CHUNK // (kept * num_samples), limit // numbers))
    draws = max(1, limit // (rows * numbers))
    for start in range(0, n, rows):
        block = slice(start, min(start + rows, n))
        part = tuple(d[block] for d in data)
        found = None
        for first in range(0, num_samples, max(1, CHUNK // kept)):
            k = min(max(1, CHUNK // kept), num_samples - first)
            with quietly(pair):
                guide_trace = trace(pair.guide, part, draws=k)
                z, log_variational = latent_values(guide_trace), None
                for i in range(0, k, draws):
                    piece = {
                        name: value[i : i + draws] if value.shape[0] == k else value
                        for name, value in z.items()
                    }
                    size = min(draws, k - i)
                    whole = size == draws and part[0].shape[0] == rows
                    if joint is None or log_variational is None or not whole:
                        model = log_joint(pair, part, size, piece, guide_trace)
                    else:
                        model = joint(pair, part, size, piece)
                    if log_variational is None:
                        log_variational = _summed(guide_trace, k, part[0])
                    pieces = (*model, log_variational[i : i + size])
                    if found is None:
                        found = Terms(*(t.new_empty(num_samples, t.shape[1]) for t in pieces))
                    for all_draws, t in zip(found, pieces, strict=True):
                        all_draws[first + i : first + i + size] = t
        yield block, found


def simulate(pair: nn.Module, *data: Tensor | int, mean: bool = False) -> dict[str, Tensor]:
    """Draw z ~ p(z) and x ~ p(x | z): one named way, for every pair.

    Arguments:
        pair: The pair.
        data: What the model is called with; x is a template whose values are ignored, as many are
            drawn as it has rows. For a `VAE` the number itself will do.
        mean: The mean of p(x | z) in place of a draw of x, where the family has one.

    Returns:
        The value of every site by name, `[n, *event]`.

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
    if data and isinstance(data[0], int):
        shape = getattr(getattr(pair, "likelihood", None), "event_shape", None)
        if shape is None or data[0] < 1:
            raise ValueError(
                f"data: expected a positive number of draws, and a pair whose likelihood says its event_shape, got "
                f"{data[0]}; otherwise pass a template tensor x of as many rows as you want"
            )
        like = next((p for p in pair.parameters()), torch.zeros(()))
        data = (torch.zeros(data[0], *shape, dtype=like.dtype, device=like.device), *data[1:])
    with quietly(pair):
        return _values(trace(poutine.uncondition(pair.model), data), mean)


def reconstruct(
    pair: nn.Module, *data: Tensor, mean: bool = True, at: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Draw z ~ q(z | x), then x ~ p(x | z), or its mean.

    Arguments:
        pair: The pair.
        data: The data, x first.
        mean: The mean of p(x | z) in place of a draw of x, where the family has one.
        at: Values of z by site, `[n, *event]`, to decode those instead of draws of q(z | x).

    Returns:
        The value of every site by name, `[n, *event]`.

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
    with quietly(pair):
        z = latent_values(trace(pair.guide, data)) if at is None else at
        return _values(trace(poutine.uncondition(pair.model), data, latents=z), mean)


def _values(run: Trace, mean: bool) -> dict[str, Tensor]:
    values = {}
    for name, site in sample_sites(run).items():
        values[name] = site["value"]
        if mean and site["infer"].get("was_observed"):
            try:
                average = site["fn"].mean
            except NotImplementedError:
                continue
            values[name] = average if average.isfinite().all() else site["value"]
    return values
