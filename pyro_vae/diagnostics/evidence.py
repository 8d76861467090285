"""log p(x) by importance sampling from q(z | x), with what says whether to trust it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.diagnostics.estimate import Estimate, join_blocks
from pyro_vae.diagnostics.log_weights import weigh_data
from pyro_vae.diagnostics.pareto import pareto_khat, widen_error
from pyro_vae.diagnostics.shares import measure_shares
from pyro_vae.weights.threads import sparing_threads


@dataclass(frozen=True)
class Evidence(Estimate):
    """An estimate of log p(x) per datum, `[n]`, in nats. In expectation it is a lower bound.

    Above `khat_threshold(k)` the value and its error are not to be trusted. The value is then too
    low, by more than the error says.

    Attributes:
        value: The estimate.
        stderr: Its Monte Carlo standard error, by the delta method, and wider where the weights
            are heavy, see `widen_error`.
        ess: The effective sample size, between 1 and k.
        khat: The Pareto shape of the largest weights.
    """

    ess: Tensor
    khat: Tensor


@sparing_threads("num_samples")
def log_evidence(
    pair: nn.Module,
    *data: Tensor,
    num_samples: int = 5000,
    compile: bool = False,
    progress: bool = True,
) -> Evidence:
    r"""log p(x) by importance sampling, in blocks. Memory does not grow with the number of draws.

    .. math:: \log \hat p(x) = \log \frac{1}{k} \sum_{i=1}^k w_i, \qquad E[\log \hat p(x)] \le \log
        p(x)

    Draws of q do not see a mode of p(z | x) that q has missed. Then k̂ is low, the effective sample
    size is high, and the estimate is too low all the same. `prior_evidence`, `bracket` and
    `calibrate` look from elsewhere.

    (Burda, Grosse & Salakhutdinov, 2016; Vehtari, Simpson, Gelman, Yao & Gabry, 2024)

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum, k.
        compile: Compile p(x, z), see `log_weights`.
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

    def measure(rows: tuple) -> Evidence:
        blocks = weigh_data(pair, rows, num_samples, progress=progress, compile=compile)
        return join_blocks([estimate_evidence(weights.log_weight) for weights in blocks])

    return measure_shares(measure, data)


def estimate_evidence(log_weight: Tensor) -> Evidence:
    """The logarithm of the mean weight, `[n]`, from log w, `[k, n]`."""
    k = log_weight.shape[0]
    squares = log_weight.softmax(0).square().sum(0)
    khat = pareto_khat(log_weight)

    return Evidence(
        value=log_weight.logsumexp(0) - math.log(k),
        stderr=widen_error(_relative_error(squares, k), khat),
        ess=1 / squares,
        khat=khat,
    )


def _relative_error(squares: Tensor, k: int) -> Tensor:
    """The relative error of the mean of k weights, from the sum of squares of normalised ones.

    It is infinite for a single draw.
    """
    if k == 1:
        return torch.full_like(squares, torch.inf)

    variance = (k * squares - 1).clamp(min=0) / (k - 1)
    return variance.sqrt()
