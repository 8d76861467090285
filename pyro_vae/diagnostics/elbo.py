"""The ELBO and its two terms."""

from dataclasses import dataclass

from torch import Tensor, nn

from pyro_vae.diagnostics.estimate import Estimate, average_draws, join_blocks
from pyro_vae.diagnostics.log_weights import weigh_data
from pyro_vae.weights.threads import sparing_threads
from pyro_vae.weights.weights import Weights

Sites = dict[str, Estimate]


@dataclass(frozen=True)
class Elbo(Estimate):
    """The ELBO per datum, `[n]`, in nats: a lower bound on log p(x).

    On the same draws value = reconstruction - kl. The terms of the sites, where they were asked
    for, add up to those two.

    Attributes:
        value: E_q[log p(x, z) - log q(z | x)].
        stderr: Its Monte Carlo standard error.
        reconstruction: E_q log p(x | z).
        kl: KL(q(z | x) ‖ p(z)), estimated on the same draws.
        observed: By site, E_q log p of what the model observes, or None.
        latent: By site, E_q[log q - log p] of a latent, or None.
    """

    reconstruction: Estimate
    kl: Estimate
    observed: Sites | None = None
    latent: Sites | None = None


@sparing_threads("num_samples")
def elbo(
    pair: nn.Module,
    *data: Tensor,
    num_samples: int = 100,
    per_site: bool = False,
    progress: bool = True,
) -> Elbo:
    r"""The plain ELBO (beta = 1), whatever the pair was trained with.

    .. math:: \mathrm{ELBO}(x) = E_q \log p(x|z) - KL(q(z|x) \,\|\, p(z)) \le \log p(x)

    Both terms are sums over sites. With levels z_1, ..., z_L the second one is

    .. math:: KL(q(z|x) \,\|\, p(z)) = \sum_l E_q[\log q(z_l | \cdot) - \log p(z_l | \cdot)]

    A part of it is a KL of its own, and not negative, where the guide draws in the order of the
    model. Where it draws bottom-up, a part can be negative. A site counts nothing where it is
    masked, and the average over a latent that is summed over is taken.

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        per_site: Keep the terms of each site as well.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        An `Elbo`, `[n]` each, float64.

    Raises:
        TypeError, ValueError: as `log_weights`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> found = elbo(vae, torch.ones(5, 3))
        >>> found.value.shape, found.kl.stderr.shape
        (torch.Size([5]), torch.Size([5]))
        >>> list(elbo(vae, torch.ones(5, 3), per_site=True).latent)
        ['z']
    """
    blocks = weigh_data(pair, data, num_samples, progress=progress, per_site=per_site)

    return join_blocks([estimate_elbo(weights) for weights in blocks])


def estimate_elbo(weights: Weights) -> Elbo:
    """The ELBO and its terms, `[n]`, from weights `[k, n]`."""
    kl = weights.log_variational - weights.log_prior
    bound = average_draws(weights.log_likelihood - kl)

    return Elbo(
        value=bound.value,
        stderr=bound.stderr,
        reconstruction=average_draws(weights.log_likelihood),
        kl=average_draws(kl),
        observed=_average_sites(weights.observed),
        latent=_average_sites(weights.latent),
    )


def _average_sites(terms: dict[str, Tensor] | None) -> Sites | None:
    if terms is None:
        return None

    return {name: average_draws(term) for name, term in terms.items()}
