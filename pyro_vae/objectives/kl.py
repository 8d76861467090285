"""KL(q ‖ p) of latents, in closed form where there is one."""

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from pyro_vae.distributions.kl import closed_kl
from pyro_vae.objectives.run import Run
from pyro_vae.weights.weights import spread


def find_kl(run: Run) -> dict[str, Tensor]:
    """KL(q ‖ p) of each latent, `[draws, data]`, in nats.

    It is in closed form where torch or Pyro registers one. Elsewhere it is log q - log p at the
    draws. So it is for all latents where the guide draws in another order than the model: a closed
    form would then condition on what comes later.

    Raises:
        ValueError: if a latent is listed.
    """
    _refuse_listed(run)
    in_order = [name for name in run.model if name in run.latents] == list(run.latents)
    return {name: _find_kl_of(run, name, in_order) for name in run.latents}


def sum_kl(run: Run) -> Tensor:
    """KL(q ‖ p) summed over the latents, `[draws, data]`, in nats."""
    return sum(find_kl(run).values())  # type: ignore[return-value]  # there is always a latent


def _refuse_listed(run: Run) -> None:
    if run.has_listed:
        raise ValueError(
            "the guide lists a latent, which is summed over, and this objective takes KLs latent "
            "by latent; take pv.EvidenceLowerBound() or pv.ImportanceWeighted(num_samples)"
        )


def _find_kl_of(run: Run, name: str, in_order: bool) -> Tensor:
    q, p = run.latents[name]
    if in_order:
        try:
            # replayed sites are not expanded to their plates
            exact = closed_kl(q["fn"].expand(run.shape), p["fn"])
            return run.scale_term(name, scale_and_mask(exact, mask=q["mask"]), q)
        except NotImplementedError:
            pass
    return run.sum_terms({name: q}) - run.sum_terms({name: p})


def find_presence(run: Run, name: str) -> Tensor | None:
    """Where a latent exists, `[draws, data]`, or None where no mask hides it."""
    q, _ = run.latents[name]
    mask = q["mask"]
    if mask is None or mask is True:
        return None

    return spread(name, torch.as_tensor(mask, device=q["value"].device), run.shape)


def find_kl_by_dimension(run: Run) -> dict[str, Tensor]:
    """KL(q ‖ p) of each number of each latent, `[draws, data, *event]`, in nats.

    It is zero where a mask hides the latent.

    Raises:
        ValueError: if a latent is not independent over its dimensions, or is listed.
    """
    _refuse_listed(run)
    return {name: _find_kl_of_dimensions(run, name) for name in run.latents}


def _find_kl_of_dimensions(run: Run, name: str) -> Tensor:
    q, p = run.latents[name]
    each_q, each_p = (split_dimensions(name, site["fn"].expand(run.shape)) for site in (q, p))
    try:
        kl = kl_divergence(each_q, each_p)
    except NotImplementedError:
        kl = each_q.log_prob(q["value"]) - each_p.log_prob(q["value"])

    kl = kl.expand(*run.shape, *q["fn"].event_shape) * (q["scale"] / run.scale)
    is_there = find_presence(run, name)
    if is_there is None:
        return kl

    return kl * is_there.reshape(*run.shape, *(1,) * len(q["fn"].event_shape))


def split_dimensions(name: str, fn: Distribution) -> Distribution:
    """The distribution of each number of an event, if they are independent.

    Raises:
        ValueError: if they are not, with the name of the latent.
    """
    base = fn
    while isinstance(base, Independent):
        base = base.base_dist
    if base.event_shape:
        raise ValueError(
            f"latent {name!r}: a {name_family(fn)} is not independent over its dimensions; take "
            "per='site' where there is that option, or a family such as pv.Normal"
        )
    return base


def name_family(fn: Distribution) -> str:
    """The name of a distribution's class, without `Independent` around it."""
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return type(fn).__name__
