"""How a pair is run: traces under a plate of draws, and the log-probabilities of sites."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pyro
import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.subsample_messenger import _Subsample
from pyro.poutine.uncondition_messenger import UnconditionMessenger
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.listed import ListValues, is_marked

DRAWS = "_draws"  # the name of the outer plate of draws of z


@contextmanager
def quietly(pair: nn.Module) -> Iterator[None]:
    """Without gradients, in eval mode, with the pair's own parameters; everything is put back."""
    with evaluated(pair), torch.no_grad(), OwnParameters(), unvalidated():
        yield


@contextmanager
def evaluated(pair: nn.Module) -> Iterator[None]:
    """In eval mode. Each module gets its own mode back."""
    modes = [(module, module.training) for module in pair.modules()]
    pair.eval()
    try:
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
    fn: Callable,
    data: tuple,
    *,
    draws: int | None = None,
    latents: dict[str, Tensor] | None = None,
    lists: bool = False,
) -> Trace:
    """Run a model or guide once.

    Arguments:
        fn: `pair.model` or `pair.guide`.
        data: What it is called with, x first.
        draws: Run under an outer plate of that many draws, at dimension -2.
        latents: Values of latent sites, to be used instead of draws.
        lists: Whether a latent that is marked `infer={"enumerate": "parallel"}` takes all its
            values, at a dimension of its own, instead of one draw.
    """
    if lists:
        fn = ListValues()(fn)
    if latents is not None:
        fn = poutine.replay(fn, trace=_fix(latents))

    plate = nullcontext() if draws is None else pyro.plate(DRAWS, draws, dim=-2)
    with plate:
        return poutine.trace(fn).get_trace(*data)


def _fix(latents: dict[str, Tensor]) -> Trace:
    fixed = Trace()
    for name, value in latents.items():
        fixed.add_node(name, name=name, type="sample", is_observed=False, value=value, infer={})
    return fixed


class _Uncondition(UnconditionMessenger):
    """Inside this context what is observed is drawn, and what is deterministic stays as it is.

    Pyro's own draws it from a Delta, which a plate may have expanded to another shape.
    """

    def _pyro_sample(self, msg: dict) -> None:
        if not is_deterministic(msg):
            super()._pyro_sample(msg)


def uncondition(fn: Callable) -> Callable:
    """A model that draws what it observes."""
    return _Uncondition()(fn)


def sample_sites(run: Trace) -> dict[str, dict]:
    """The sample sites of a trace by name, without those of plates and deterministic ones."""
    return {name: site for name, site in valued_sites(run).items() if not is_deterministic(site)}


def latent_sites(run: Trace) -> dict[str, dict]:
    """The sites that a trace drew, by name."""
    sites = sample_sites(run)
    return {name: site for name, site in sites.items() if not site["is_observed"]}


def drawn_sites(run: Trace) -> dict[str, dict]:
    """The latents of a guide that are drawn, by name, without those that it marks to be listed."""
    return {name: site for name, site in latent_sites(run).items() if not is_marked(site)}


def observed_sites(run: Trace) -> dict[str, dict]:
    """The sites that a trace observed, by name."""
    sites = sample_sites(run)
    return {name: site for name, site in sites.items() if site["is_observed"]}


def is_factor(site: dict) -> bool:
    """Whether a site is a `pyro.factor`, which adds a number and observes nothing."""
    return isinstance(site["fn"], Unit)


def hide_observed(guide: Callable) -> Callable:
    """A guide without what it observes, which is no latent. Its factors stay.

    Pyro's `Trace_ELBO` subtracts the log-probability of what a guide observes, which is then
    trained to be low.
    """
    return poutine.block(guide, hide_fn=_is_observation)


def _is_observation(site: dict) -> bool:
    return site["type"] == "sample" and site["is_observed"] and not is_factor(site)


def split_sites(sites: dict[str, dict]) -> tuple[dict[str, dict], dict[str, dict]]:
    """Sites by name, those that are observed and those that are not."""
    observed = {name: site for name, site in sites.items() if site["is_observed"]}
    latent = {name: site for name, site in sites.items() if not site["is_observed"]}
    return observed, latent


def latent_values(run: Trace) -> dict[str, Tensor]:
    """The values that a trace drew, by site."""
    return {name: site["value"] for name, site in latent_sites(run).items()}


def is_hidden(site: dict) -> bool:
    """Whether a mask hides a site in some rows."""
    mask = site["mask"]
    return mask is not None and not bool(torch.as_tensor(mask).all())


def is_plate(site: dict) -> bool:
    """Whether a site of a trace holds the indices of a plate."""
    return isinstance(site.get("fn"), _Subsample)


def is_deterministic(site: dict) -> bool:
    """Whether a site is a `pyro.deterministic`, which has a value and no density."""
    return bool(site["infer"].get("_deterministic"))


def valued_sites(run: Trace) -> dict[str, dict]:
    """The sites of a trace that have a value of their own, deterministic ones as well, by name."""
    sites = {name: site for name, site in run.nodes.items() if site["type"] == "sample"}
    return {name: site for name, site in sites.items() if not is_plate(site)}


def log_prob(site: dict) -> Tensor:
    """The log-probability of a site per draw and datum.

    Its mask counts. The scale of a subsampled plate does not.
    """
    return scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"])
