"""log p(x) from draws of the prior: a second look, which does not start at q(z | x)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vae.arguments import check_whole
from pyro_vae.diagnostics.estimate import Estimate, average_data, join_blocks, subtract
from pyro_vae.diagnostics.evidence import Evidence, estimate_evidence
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import DECODED, count_fitting, count_numbers, cut
from pyro_vae.weights.intake import admit
from pyro_vae.weights.threads import MEASUREMENT, spared_threads, sparing_threads
from pyro_vae.weights.traces import is_marked, latent_sites, quietly, trace
from pyro_vae.weights.weights import sum_observed

LATENTS = 3  # numbers of z, above which hardly a draw of the prior explains x
ROWS = 100  # data that are looked at again, at most
DRAWS = 10_000  # of the prior for each of them, at most
EFFECTIVE = 20  # samples, below which a datum is not looked at
CLEAR = 5  # standard errors of one datum that are no chance
CLEAR_MEAN = 4  # standard errors of the mean over data


@sparing_threads("num_samples")
def prior_evidence(
    pair: nn.Module, *data: Tensor, num_samples: int = 5000, progress: bool = True
) -> Evidence:
    r"""log p(x) by simple Monte Carlo: how well z that are drawn from p(z) explain x.

    .. math:: \log \hat p(x) = \log \frac{1}{k} \sum_{i=1}^k p(x | z_i), \qquad z_i \sim p(z)

    It does not use q(z | x), so it finds modes that q has missed. It is of use for one to three
    latents. With more, hardly a draw lies where x is explained, as the effective sample size shows.

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of p(z) for each datum, k.
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
        >>> prior_evidence(vae, torch.ones(5, 3), num_samples=100).ess.shape
        torch.Size([5])
    """
    num_samples = check_whole("num_samples", num_samples)
    data = admit(pair, data)
    n = data[0].shape[0]

    found = []
    total = n * num_samples
    with progress_bar(total, "drawing from the prior", show=progress, unit="draw") as bar:
        for _, block in cut(data, min(n, count_fitting(num_samples))):
            log_likelihood = torch.cat(list(_score_draws(pair, block, num_samples, bar)))
            found.append(estimate_evidence(log_likelihood.double()))
    return join_blocks(found)


def _score_draws(pair: nn.Module, data: tuple, num_samples: int, bar: tqdm) -> Iterator[Tensor]:
    """log p(x | z) of draws of the prior, `[k, n]`, in pieces."""
    x = data[0]
    limit = DECODED.get(x.device.type, DECODED["cpu"])
    size = count_fitting(len(x) * count_numbers(x), limit)
    for start in range(0, num_samples, size):
        k = min(size, num_samples - start)
        with quietly(pair):
            yield sum_observed(trace(pair.model, data, draws=k), (k, len(x)), x)
        bar.update(k * len(x))


@dataclass(frozen=True)
class SecondLook:
    """log p(x) of some data, from draws of the prior and from elsewhere, per datum, `[n]`, in nats.

    Attributes:
        evidence: From draws of the prior.
        first: From elsewhere, as a rule from draws of q(z | x).
    """

    evidence: Evidence
    first: Estimate

    @property
    def excess(self) -> Estimate:
        """By how much the prior's draws find more, where enough of them are effective."""
        is_seen = self.evidence.ess >= EFFECTIVE
        both = subtract(self.evidence, self.first)
        return Estimate(value=both.value[is_seen], stderr=both.stderr[is_seen])

    def warnings(self) -> list[str]:
        """That q may miss a mode, where the prior's draws find more than chance explains."""
        return [said for _, said in self.doubts()]

    def doubts(self) -> list[tuple[float, str]]:
        """The warnings, each with the share of the data that it is of."""
        excess, n = self.excess, len(self.first.value)
        seen = len(excess.value)
        if not seen:
            return []

        is_clear = excess.value > CLEAR * excess.stderr
        mean, most = average_data(excess), excess.value[is_clear]
        # those that happen to have many effective draws happen to have much evidence
        is_above = 2 * seen >= n and mean.value > CLEAR_MEAN * mean.stderr
        where = []
        if is_above:
            where.append(f"by {mean.value:.2f} ± {mean.stderr:.2f} nats in the mean of {seen} data")
        if len(most):
            where.append(f"clearly for {len(most)} of {n} data, by up to {most.max():.2f} nats")
        if not where:
            return []

        said = (
            f"q(z|x) may miss a mode, {' and '.join(where)}: draws of the prior find more evidence "
            "there, so log p(x) and the KL to p(z|x) are too low"
        )
        return [(1.0 if is_above else len(most) / n, said)]


def look_again(
    pair: nn.Module, data: tuple, first: Estimate, num_samples: int, progress: bool = False
) -> SecondLook | None:
    """A second look at the first data, where z has few numbers. Random states are left alone.

    It costs no more than the draws of q(z | x) for all data.

    Arguments:
        pair: The pair.
        data: What was measured.
        first: log p(x) as it was measured, `[n]`.
        num_samples: Draws of q(z | x) for each datum with which it was.
        progress: Show a progress bar.
    """
    n = len(first.value)
    rows = min(n, ROWS)
    few = tuple(d[:rows] for d in data)
    devices = [first.value.device] if first.value.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        with spared_threads(0.0, MEASUREMENT):  # a look at a few rows
            is_worth_it = _is_worth_it(pair, few)
        if not is_worth_it:
            return None
        draws = min(DRAWS, num_samples * n // rows)
        evidence = prior_evidence(pair, *few, num_samples=draws, progress=progress)
    return SecondLook(evidence, Estimate(first.value[:rows], first.stderr[:rows]))


def _is_worth_it(pair: nn.Module, data: tuple) -> bool:
    """Whether z has few numbers, is drawn in every row, and no latent is summed over."""
    few = tuple(d[:1] for d in admit(pair, data))
    with quietly(pair):
        latents = latent_sites(trace(pair.guide, few))
    if any(site["mask"] is not None or is_marked(site) for site in latents.values()):
        return False
    return sum(site["value"].numel() for site in latents.values()) <= LATENTS
