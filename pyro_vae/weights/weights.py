"""The weights of draws of q(z | x): the one quantity of which everything else is a statistic."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_vae.weights.listed import (
    add_listed,
    find_listed,
    find_listed_shape,
    score_listed,
    sum_listed,
)
from pyro_vae.weights.obstacles import refuse_obstacles
from pyro_vae.weights.traces import (
    latent_sites,
    latent_values,
    log_prob,
    observed_sites,
    sample_sites,
    split_sites,
    trace,
)


class Weights(NamedTuple):
    r"""The terms of the weights of k draws of q(z | x) for n data, `[k, n]` each, in nats.

    .. math:: \log w = \log p(x | z) + \log p(z) - \log q(z | x), \qquad z \sim q(z | x)

    The mean of log w is the ELBO. The logarithm of the mean of w estimates log p(x).

    A latent y may be listed: it takes all its values, each with a draw z_y. Then

    .. math:: w = \sum_y w_y, \qquad w_y = p(x, y, z_y) / q(z_y | x, y)

    and the terms are expectations under q(y | x).

    Attributes:
        log_likelihood: log p(x | z), the sum over all sites that the model observes.
        log_prior: log p(z), the sum over all latent sites of the model.
        log_variational: log q(z | x), the sum over all latent sites of the guide.
        log_sum: log w, where a latent is listed. Otherwise None.
        observed: log p of each site that the model observes, by name, if asked for.
        latent: log q - log p of each latent, by name, if asked for.
    """

    log_likelihood: Tensor
    log_prior: Tensor
    log_variational: Tensor
    log_sum: Tensor | None = None
    observed: dict[str, Tensor] | None = None
    latent: dict[str, Tensor] | None = None

    @property
    def log_joint(self) -> Tensor:
        """log p(x, z)."""
        return self.log_likelihood + self.log_prior

    @property
    def elbo(self) -> Tensor:
        """log p(x, z) - log q(z | x). Its mean over draws estimates the ELBO."""
        return self.log_joint - self.log_variational

    @property
    def log_weight(self) -> Tensor:
        """log w. The logarithm of the mean of w over draws estimates log p(x)."""
        return self.elbo if self.log_sum is None else self.log_sum

    def double(self) -> "Weights":
        """The same in float64."""
        return map_terms(Tensor.double, self)


def map_terms(change: Callable[..., Tensor], *weights: Weights) -> Weights:
    """A function of the same term of several weights, for every term that they have."""
    terms: list[Any] = [_map(change, term) for term in zip(*weights, strict=True)]

    return Weights(*terms)


def _map(change: Callable[..., Tensor], terms: Sequence[Any]) -> Any:
    first = terms[0]
    if first is None:
        return None
    if isinstance(first, dict):
        return {name: change(*(term[name] for term in terms)) for name in first}

    return change(*terms)


def join_weights(parts: Sequence[Weights], dim: int) -> Weights:
    """Weights one after the other, along the draws, 0, or along the data, 1."""
    return map_terms(lambda *terms: torch.cat(terms, dim), *parts)


def weigh(
    pair: nn.Module,
    data: tuple,
    draws: int,
    latents: dict[str, Tensor] | None = None,
    *,
    per_site: bool = False,
) -> Weights:
    """Draw from q(z | x) and weigh the draws, all at once.

    Arguments:
        pair: The pair.
        data: What its model and guide are called with, x first, `[n, *event]`.
        draws: How many draws of z, k.
        latents: Values of z by site, `[k, n or 1, *event]`, to weigh those instead of draws.
        per_site: Keep the terms of each site as well.

    Raises:
        ValueError: if the pair has no weight per datum, see `refuse_obstacles`.

    Example:
        >>> weigh(vae, (x,), 4).log_weight.shape
        torch.Size([4, 5])
    """
    shape = (draws, data[0].shape[0])

    guide_trace = trace(pair.guide, data, draws=draws, latents=latents, lists=True)
    model_trace = trace(pair.model, data, draws=draws, latents=latent_values(guide_trace))
    refuse_obstacles(model_trace, guide_trace)

    model, guide = sample_sites(model_trace), sample_sites(guide_trace)
    return combine(model, guide, shape, data[0], per_site=per_site)


def combine(
    model: dict[str, dict],
    guide: dict[str, dict],
    shape: tuple,
    x: Tensor,
    score: Callable[[dict], Tensor] = log_prob,
    *,
    per_site: bool = False,
) -> Weights:
    """The weights of the draws of a guide, from its sites and those of the model at them.

    Arguments:
        model, guide: The sample sites by name.
        shape: (draws, data).
        x: The data. The weights lie on its device.
        score: The log-probability of a site.
        per_site: Keep the terms of each site as well.
    """
    observed, latent = split_sites(model)
    _, drawn = split_sites(guide)
    sizes = find_listed(drawn)
    if per_site:
        score = make_precise(score)
    if sizes:
        score = _make_score(sizes, score)
        shape = (*find_listed_shape(sizes), *shape)
    log_p_x, log_p_z, log_q = (
        score_each(sites, shape, score) for sites in (observed, latent, drawn)
    )
    if not sizes:
        return add_terms(log_p_x, log_p_z, log_q, shape, x, per_site)

    log_q_listed = {name: log_q[name] for name in sizes}
    log_q_drawn = {name: term for name, term in log_q.items() if name not in sizes}
    found = average_over_listed(
        add_up(log_p_x, shape, x),
        add_up(log_p_z, shape, x),
        add_up(log_q_drawn, shape, x),
        add_up(log_q_listed, shape, x),
    )
    if not per_site:
        return found

    q = add_up(log_q_listed, shape, x).exp()
    return found._replace(
        observed={name: _average(q, term) for name, term in log_p_x.items()},
        latent={name: _average(q, log_q[name] - log_p_z[name]) for name in log_q},
    )


def make_precise(score: Callable[[dict], Tensor]) -> Callable[[dict], Tensor]:
    """A score in float64, so that the terms of sites add up to the sums."""
    return lambda site: score(site).double()


def add_terms(
    log_p_x: dict[str, Tensor],
    log_p_z: dict[str, Tensor],
    log_q: dict[str, Tensor],
    shape: tuple,
    x: Tensor,
    per_site: bool,
) -> Weights:
    """The weights from the log-probabilities of each site, `[k, n]`, without a listed latent."""
    found = Weights(
        log_likelihood=add_up(log_p_x, shape, x),
        log_prior=add_up(log_p_z, shape, x),
        log_variational=add_up(log_q, shape, x),
    )
    if not per_site:
        return found

    return found._replace(
        observed=log_p_x, latent={name: term - log_p_z[name] for name, term in log_q.items()}
    )


def _make_score(sizes: dict[str, int], score: Callable[[dict], Tensor]) -> Callable[[dict], Tensor]:
    """The log-probability of any site, with listed ones made uniform where they are masked."""

    def score_any(site: dict) -> Tensor:
        size = sizes.get(site["name"])
        return score(site) if size is None else score_listed(site, size, score)

    return score_any


def average_over_listed(
    log_likelihood: Tensor, log_prior: Tensor, log_q_drawn: Tensor, log_q_listed: Tensor
) -> Weights:
    """The weights with listed latents y summed over, from terms `[*listed, k, n]`."""
    q = log_q_listed.exp()

    return Weights(
        log_likelihood=_average(q, log_likelihood),
        log_prior=_average(q, log_prior),
        log_variational=_average(q, log_q_drawn + log_q_listed),
        log_sum=add_listed(log_likelihood + log_prior - log_q_drawn),
    )


def _average(q: Tensor, term: Tensor) -> Tensor:
    """The expectation under q(y | x), `[k, n]`, of a term `[*listed, k, n]`."""
    # an impossible value counts nothing, however bad it is
    return sum_listed(torch.where(q > 0, q * term, 0.0))


def score_marginals(
    pair: nn.Module, data: tuple, draws: int, latents: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    r"""log p(x, z) and log q(z | x), `[k, n]` each, at given z, with listed latents y summed over.

    .. math:: p(x, z) = \sum_y p(x, y, z), \qquad q(z | x) = \sum_y q(y | x) \, q(z | x, y)

    Arguments:
        pair, data, draws: As for `weigh`.
        latents: Values of the latents that are not listed, `[k, n, *event]`.
    """
    x = data[0]
    guide_trace = trace(pair.guide, data, draws=draws, latents=latents, lists=True)
    model_trace = trace(pair.model, data, draws=draws, latents=latent_values(guide_trace))
    sizes = find_listed(latent_sites(guide_trace))
    shape = (*find_listed_shape(sizes), draws, x.shape[0])
    score = _make_score(sizes, log_prob)

    log_p = sum_sites(sample_sites(model_trace), shape, x, score)
    log_q = sum_sites(latent_sites(guide_trace), shape, x, score)
    if not sizes:
        return log_p, log_q
    return add_listed(log_p), add_listed(log_q)


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


def sum_sites(
    sites: dict[str, dict],
    shape: tuple,
    x: Tensor,
    score: Callable[[dict], Tensor] = log_prob,
) -> Tensor:
    """The sum of the log-probabilities of sites, of the shape given, on the device of x."""
    return add_up(score_each(sites, shape, score), shape, x)


def score_each(
    sites: dict[str, dict], shape: tuple, score: Callable[[dict], Tensor] = log_prob
) -> dict[str, Tensor]:
    """The log-probability of each site, of the shape given."""
    return {name: spread(name, score(site), shape) for name, site in sites.items()}


def add_up(terms: dict[str, Tensor], shape: tuple, x: Tensor) -> Tensor:
    """The sum of the terms of sites, of the shape given, on the device of x."""
    if not terms:
        return torch.zeros(shape, device=x.device)

    return sum(terms.values())  # type: ignore[return-value]  # there is one at least


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
