"""The ELBO and its two terms."""

from dataclasses import dataclass

from torch import Tensor, nn

from pyro_vae.diagnostics.estimate import Estimate, average_draws, join_blocks
from pyro_vae.diagnostics.log_weights import weigh_data
from pyro_vae.weights.weights import Weights


@dataclass(frozen=True)
class Elbo(Estimate):
    """The ELBO per datum, `[n]`, in nats: a lower bound on log p(x).

    On the same draws value = reconstruction - kl.

    Attributes:
        value: E_q[log p(x, z) - log q(z | x)].
        stderr: Its Monte Carlo standard error.
        reconstruction: E_q log p(x | z).
        kl: KL(q(z | x) ‖ p(z)), estimated on the same draws.
    """

    reconstruction: Estimate
    kl: Estimate


def elbo(pair: nn.Module, *data: Tensor, num_samples: int = 100, progress: bool = True) -> Elbo:
    r"""The plain ELBO (beta = 1), whatever the pair was trained with.

    .. math:: \mathrm{ELBO}(x) = E_q \log p(x|z) - KL(q(z|x) \,\|\, p(z)) \le \log p(x)

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
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
    """
    blocks = weigh_data(pair, data, num_samples, progress=progress)

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
    )
