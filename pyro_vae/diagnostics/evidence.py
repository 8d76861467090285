"""log p(x) by importance sampling from q(z | x), and whether to trust it."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.diagnostics.elbo import gathered
from pyro_vae.diagnostics.log_weights import measured


class Evidence(NamedTuple):
    """An estimate of log p(x) per datum, `[n]`, in nats; in expectation it is a lower bound.

    Attributes:
        value, stderr: The estimate, and its Monte Carlo standard error by the delta method.
        ess: The effective sample size, between 1 and k.
        khat: The Pareto shape of the largest weights; above `khat_threshold(k)` value and stderr
            are not to be trusted.
    """

    value: Tensor
    stderr: Tensor
    ess: Tensor
    khat: Tensor


def log_evidence(
    pair: nn.Module,
    *data: Tensor,
    num_samples: int = 5000,
    compile: bool = False,
    progress: bool = True,
) -> Evidence:
    r"""log p(x) by importance sampling, in chunks: memory does not grow with the number of draws.

    .. math:: \log \hat p(x) = \log \frac{1}{k} \sum_{i=1}^k w_i, \qquad E[\log \hat p(x)] \le \log
    p(x)

    (Burda, Grosse & Salakhutdinov, 2016; Vehtari, Simpson, Gelman, Yao & Gabry, 2024)

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: k, draws of q(z | x) for each datum.
        compile: See `log_weights`.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        An `Evidence`, `[n]` each, float64.

    Raises:
        TypeError, ValueError: as `log_weights`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> log_evidence(vae, torch.ones(5, 3), num_samples=100).value.shape
        torch.Size([5])
    """
    found = measured(pair, data, num_samples, progress, compile)
    return gathered(
        [evidence_of(t.log_likelihood + t.log_prior - t.log_variational) for t in found]
    )


def evidence_of(log_w: Tensor) -> Evidence:
    k = log_w.shape[0]
    square = log_w.softmax(0).square().sum(0)
    relative = ((k * square - 1).clamp(min=0) / max(k - 1, 1)).sqrt()
    stderr = relative if k > 1 else torch.full_like(square, math.inf)
    return Evidence(log_w.logsumexp(0) - math.log(k), stderr, 1 / square, pareto_khat(log_w))


def khat_threshold(num_samples: int) -> float:
    """Above this k̂ an importance sampling estimate is not to be trusted: min(1 - 1 / log10 S, 0.7)."""
    return min(1 - 1 / math.log10(num_samples), 0.7) if num_samples > 1 else 0.0


def pareto_khat(log_w: Tensor) -> Tensor:
    """The shape of a generalised Pareto distribution fitted to the largest weights, per datum.

    By the empirical Bayes estimate of Zhang & Stephens (2009), with the weak prior of Vehtari et
    al. (2024). NaN for fewer than 25 draws; 0 where all weights are equal.

    Arguments:
        log_w: `[k, n]`.

    Returns:
        `[n]`.
    """
    k = log_w.shape[0]
    m = math.ceil(min(k / 5, 3 * k**0.5))
    if m < 5:
        return torch.full_like(log_w[0], math.nan)
    top = (log_w - log_w.amax(0)).topk(m + 1, dim=0).values.flip(0).exp()
    x = top[1:] - top[0]
    flat = x[-1] <= 1e-9
    x = torch.where(
        flat, torch.linspace(0.1, 1.0, m, dtype=x.dtype, device=x.device)[:, None], x
    ).clamp(min=1e-300)

    grid = 30 + int(m**0.5)
    i = torch.arange(1, grid + 1, dtype=x.dtype, device=x.device)[:, None]
    b = 1 / x[-1] + (1 - (grid / (i - 0.5)).sqrt()) / (3 * x[int(m / 4 + 0.5) - 1].clamp(min=1e-12))
    shape = torch.stack([torch.log1p(-b_i * x).mean(0) for b_i in b])
    log_lik = m * ((-b / shape).log() - shape - 1)
    b = (b * log_lik.nan_to_num(-math.inf).softmax(0)).sum(0)
    khat = (m * torch.log1p(-b * x).mean(0) + 5) / (m + 10)
    return torch.where(flat, torch.zeros_like(khat), khat)
