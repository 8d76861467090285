"""The weights of draws of q(z | x): the one quantity of which everything else is a statistic."""

from typing import NamedTuple

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_vae.weights.obstacles import refuse_obstacles
from pyro_vae.weights.traces import (
    latent_sites,
    latent_values,
    log_prob,
    observed_sites,
    trace,
)


class Weights(NamedTuple):
    r"""The terms of the weights of k draws of q(z | x) for n data, `[k, n]` each, in nats.

    .. math:: \log w = \log p(x | z) + \log p(z) - \log q(z | x), \qquad z \sim q(z | x)

    The mean of log w is the ELBO. The logarithm of the mean of w estimates log p(x).

    Attributes:
        log_likelihood: log p(x | z), the sum over all sites that the model observes.
        log_prior: log p(z), the sum over all latent sites of the model.
        log_variational: log q(z | x), the sum over all latent sites of the guide.
    """

    log_likelihood: Tensor
    log_prior: Tensor
    log_variational: Tensor

    @property
    def log_joint(self) -> Tensor:
        """log p(x, z)."""
        return self.log_likelihood + self.log_prior

    @property
    def log_weight(self) -> Tensor:
        """log w = log p(x, z) - log q(z | x)."""
        return self.log_joint - self.log_variational

    def double(self) -> "Weights":
        """The same in float64."""
        return Weights(*(term.double() for term in self))


def weigh(
    pair: nn.Module,
    data: tuple,
    draws: int,
    latents: dict[str, Tensor] | None = None,
) -> Weights:
    """Draw from q(z | x) and weigh the draws, all at once.

    Arguments:
        pair: The pair.
        data: What its model and guide are called with, x first, `[n, *event]`.
        draws: How many draws of z, k.
        latents: Values of z by site, `[k, n or 1, *event]`, to weigh those instead of draws.

    Raises:
        ValueError: if the pair has no weight per datum, see `refuse_obstacles`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Normal(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> weigh(vae, (torch.ones(5, 3),), 4).log_weight.shape
        torch.Size([4, 5])
    """
    shape = (draws, data[0].shape[0])

    guide_trace = trace(pair.guide, data, draws=draws, latents=latents)
    z = latent_values(guide_trace)
    log_likelihood, log_prior = score_joint(pair, data, draws, z, guide_trace)
    log_variational = sum_latent(guide_trace, shape, data[0])

    return Weights(log_likelihood, log_prior, log_variational)


def score_joint(
    pair: nn.Module,
    data: tuple,
    draws: int,
    latents: dict[str, Tensor],
    guide_trace: Trace | None = None,
) -> tuple[Tensor, Tensor]:
    """log p(x | z) and log p(z), `[k, n]` each, at given z.

    With the trace of the guide it also refuses what cannot be weighed, as `weigh` does.
    """
    shape = (draws, data[0].shape[0])

    model_trace = trace(pair.model, data, draws=draws, latents=latents)
    if guide_trace is not None:
        refuse_obstacles(model_trace, guide_trace)

    return sum_observed(model_trace, shape, data[0]), sum_latent(model_trace, shape, data[0])


def sum_observed(run: Trace, shape: tuple, x: Tensor) -> Tensor:
    """The log-probability `[k, n]` of all that a trace observes."""
    return sum_sites(observed_sites(run), shape, x)


def sum_latent(run: Trace, shape: tuple, x: Tensor) -> Tensor:
    """The log-probability `[k, n]` of all that a trace draws."""
    return sum_sites(latent_sites(run), shape, x)


def sum_sites(sites: dict[str, dict], shape: tuple, x: Tensor) -> Tensor:
    """The sum `[k, n]` of the log-probabilities of sites, on the device of x."""
    if not sites:
        return torch.zeros(shape, device=x.device)

    terms = [spread(name, log_prob(site), shape) for name, site in sites.items()]
    return sum(terms)  # type: ignore[return-value]  # there is one at least


def spread(name: str, value: Tensor, shape: tuple) -> Tensor:
    """A value of one site, as one number for each draw and datum.

    Raises:
        ValueError: if it has other dimensions, with the name of the site.
    """
    try:
        return value.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"site {name!r} has log-probabilities of shape {tuple(value.shape)}, expected "
            f"{tuple(shape)}, one per draw and datum: declare the other dimensions as the event's "
            "with .to_event(...)"
        ) from None
