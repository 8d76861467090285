"""The ELBO and its two terms."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.diagnostics.log_weights import measured, stderr
from pyro_vae.weights.weights import Weights


class Elbo(NamedTuple):
    """The ELBO per datum, `[n]`, in nats: value = reconstruction - kl, a lower bound on log p(x).

    Attributes:
        value, stderr: E_q[log p(x, z) - log q(z | x)], and its Monte Carlo standard error.
        reconstruction, reconstruction_stderr: E_q log p(x | z).
        kl, kl_stderr: KL(q(z | x) ‖ p(z)), estimated on the same draws.
    """

    value: Tensor
    stderr: Tensor
    reconstruction: Tensor
    reconstruction_stderr: Tensor
    kl: Tensor
    kl_stderr: Tensor


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
        >>> elbo(vae, torch.ones(5, 3)).value.shape
        torch.Size([5])
    """
    return gathered([elbo_of(t) for t in measured(pair, data, num_samples, progress)])


def elbo_of(t: Weights) -> Elbo:
    kl = t.log_variational - t.log_prior
    columns = (t.log_likelihood - kl, t.log_likelihood, kl)
    return Elbo(*(statistic(c) for c in columns for statistic in (lambda c: c.mean(0), stderr)))


def gathered(parts: list):
    """The named tuples of blocks of data as one."""
    return type(parts[0])(*(torch.cat(column) for column in zip(*parts, strict=True)))
