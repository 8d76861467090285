"""How far q(z | x) is from p(z | x), and why: the family of q, or the encoder that amortises it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_seed, check_whole
from pyro_vae.conditionals import Conditional
from pyro_vae.diagnostics.elbo import Elbo, elbo
from pyro_vae.diagnostics.estimate import (
    Estimate,
    average_draws,
    combine_errors,
    join_blocks,
    standard_error,
    subtract,
)
from pyro_vae.diagnostics.evidence import Evidence, estimate_evidence
from pyro_vae.diagnostics.log_weights import weigh_data
from pyro_vae.diagnostics.pareto import khat_threshold, widen_error
from pyro_vae.diagnostics.refit import Search, weigh_draws
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import count_fitting, cut, even_out
from pyro_vae.weights.intake import admit
from pyro_vae.weights.threads import sparing_threads
from pyro_vae.weights.traces import quietly

MANY = 5000  # draws, from which on the threshold of k̂ is what it is at most


@sparing_threads("num_samples")
def posterior_gap(
    pair: nn.Module,
    *data: Tensor,
    num_samples: int = 5000,
    log_evidence: Estimate | None = None,
    progress: bool = True,
) -> Estimate:
    r"""How far q(z | x) is from the true posterior.

    .. math:: KL(q(z|x) \,\|\, p(z|x)) = \log p(x) - \mathrm{ELBO}(x)

    By default log p(x) is estimated by importance sampling on the draws of the ELBO. The gap is
    then never negative, and a lower bound in expectation. Against another estimate of log p(x) it
    can be negative, by noise.

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        log_evidence: log p(x), `[n]`, from `annealed_log_evidence` for one.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        An `Estimate`, `[n]`, in nats, float64.

    Raises:
        TypeError, ValueError: as `log_weights`; and if `log_evidence` is no estimate, or has
            another shape.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> bool((posterior_gap(vae, torch.ones(5, 3), num_samples=100).value >= 0).all())
        True
    """
    if log_evidence is None:
        blocks = weigh_data(pair, data, num_samples, progress=progress)
        return join_blocks([estimate_gap(weights.log_weight, weights.elbo) for weights in blocks])

    _check_evidence(log_evidence, data)
    bound = elbo(pair, *data, num_samples=num_samples, progress=progress)
    return subtract(_match(log_evidence, bound.value), bound)


def estimate_gap(log_weight: Tensor, elbo: Tensor | None = None) -> Estimate:
    """The gap, `[n]`, from log w and the draws of the ELBO, `[k, n]` each, in nats.

    It is the logarithm of the mean weight less the mean ELBO. The draws of the ELBO are log w,
    unless a latent is listed. So it is never negative.
    """
    elbo = log_weight if elbo is None else elbo
    k = log_weight.shape[0]
    influence = log_weight.softmax(0) * k - elbo
    evidence = estimate_evidence(log_weight)

    return Estimate(
        value=evidence.value - elbo.mean(0),
        stderr=widen_error(standard_error(influence), evidence.khat),
    )


@dataclass(frozen=True)
class InferenceGaps:
    """The two parts of KL(q(z | x) ‖ p(z | x)) per datum, `[n]`, in nats.

    The best ELBO is found by optimisation, so the truly best one is no lower. The approximation gap
    is bounded from above by it, the amortisation gap from below.

    Attributes:
        approximation: log p(x) less the best ELBO of the family.
        amortisation: The best ELBO less the encoder's. It is below 0 where another family was asked
            for that is worse than the encoder's q.
        total: Their sum, log p(x) less the encoder's ELBO.
        log_evidence: The log p(x) that was used.
        best_elbo: The ELBO of the refitted q.
        elbo: The encoder's ELBO.
        khat: The Pareto shape of the weights from which log p(x) was estimated, see `Evidence`. It
            is NaN where log p(x) was given.
        left: By how much the best ELBO may still rise. It is 0 where the last steps did not move
            it, and in the errors of both parts where it is not.
    """

    approximation: Estimate
    amortisation: Estimate
    total: Estimate
    log_evidence: Estimate
    best_elbo: Estimate
    elbo: Estimate
    khat: Tensor
    left: Tensor

    def warnings(self) -> list[str]:
        """Why the numbers are not to be trusted. It is empty if nothing speaks against them."""
        said = []
        rises = self.left > 0
        if rises.any():
            said.append(
                f"the refitted q still rose for {int(rises.sum())} of {len(rises)} data, and may "
                f"by {self.left[rises].mean().item():.2g} nats more: the approximation gap comes "
                "out too high there, the amortisation gap too low, and their errors hold it; take "
                "more steps, num_steps= of inference_gaps, refit_steps= of picture"
            )
        is_heavy = self.khat > khat_threshold(MANY)
        if is_heavy.any():
            said.append(
                f"k̂ of the refitted q is above {khat_threshold(MANY):.1f} for "
                f"{int(is_heavy.sum())} of {len(is_heavy)} data: log p(x) and the approximation "
                "gap come out too low there; pass log_evidence=, of annealed_log_evidence for one"
            )
        return said


@sparing_threads("num_particles", "num_steps")
def inference_gaps(
    pair: nn.Module,
    *data: Tensor,
    log_evidence: Estimate | None = None,
    family: Callable[[int], Conditional] | None = None,
    num_steps: int = 500,
    num_particles: int = 16,
    learning_rate: float = 0.1,
    num_samples: int = 5000,
    seed: int | None = None,
    compile: bool = False,
    progress: bool = True,
) -> InferenceGaps:
    r"""KL(q(z | x) ‖ p(z | x)) in two parts: what the family of q costs, and what its encoder does.

    .. math::
        \log p(x) - \mathrm{ELBO}(q) =
        \underbrace{\log p(x) - \mathrm{ELBO}(q^*)}_{\text{approximation}} +
        \underbrace{\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q)}_{\text{amortisation}}

    q* has parameters of its own for each datum, q has those that an encoder sets. The parameters of
    q* are *all* parameters of the distribution, also those that the encoder fixes. They start at
    the encoder's output or, where that is better, at the location and spread of a normal that is
    fitted to p(z | x) by natural gradients. That is so for families with a location and a spread
    over real numbers, up to 128 of them. Then they follow the gradient of the ELBO, in rounds of
    100 steps of Adam. New parameters of a datum are kept where they raised an ELBO of fresh draws.
    The rounds end when one moved no ELBO by more than 0.01 nats or 4 errors, which are small where
    q hardly moves. If the steps end first, `left` says by how much the ELBO may still rise. The
    errors hold it, and `warnings()` say so. The parameters of the pair do not change.

    (Cremer, Li & Duvenaud, 2018; Opper & Archambeau, 2009; Khan & Nielsen, 2018)

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        log_evidence: log p(x), `[n]`. By default it is estimated by importance sampling from q*, on
            the draws of the best ELBO. Look at `khat` then.
        family: Another family than the guide's, called with a number d: `pv.MultivariateNormal`, or
            `functools.partial(pv.Flow, transforms=2)`. Its q* is over all latents of a datum
            together, as one vector of d unconstrained numbers, and starts at that normal, or at the
            means and variances of draws of q. A flow is slow: one is fitted for each datum, in a
            loop at every step, so pass few data.
        num_steps: Steps of Adam at most.
        num_particles: Draws of each datum at a step.
        learning_rate: Of Adam at the start of a round, from which it falls to 0 along a cosine.
            Locations are in units of the standard deviations of q.
        num_samples: Draws for each ELBO and for log p(x).
        seed: Random seed. With one, torch's random state is left as it was.
        compile: Compile log p(x, z) and its gradient in z for the steps of Adam. That
            pays from half a minute of work on.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        An `InferenceGaps`, `[n]` each, float64.

    Raises:
        TypeError, ValueError: as `log_weights`; if a latent is discrete; if the guide's
            distribution cannot be refitted (a flow, a mixture, a latent whose q depends on
            another), which `family` may help; if the family has no `loc` and scale to start at.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> gaps = inference_gaps(vae, torch.ones(5, 3), num_steps=20, num_samples=100)
        >>> parts = gaps.approximation.value + gaps.amortisation.value
        >>> bool((parts - gaps.total.value).abs().max() < 1e-9)
        True
    """
    search = Search(family, num_steps, num_particles, learning_rate, compile=compile)
    num_samples = check_whole("num_samples", num_samples)

    with _seeded(seed):
        data = admit(pair, data)
        if log_evidence is not None:
            _check_evidence(log_evidence, data)
        encoder = elbo(pair, *data, num_samples=num_samples, progress=progress)
        best = _measure_best(search, pair, data, num_samples, progress)

    if log_evidence is None:
        return _split(encoder, best, best.gap, best.evidence, best.evidence.khat)
    evidence = _match(log_evidence, best.elbo.value)
    unknown = torch.full_like(evidence.value, torch.nan)
    return _split(encoder, best, subtract(evidence, best.elbo), evidence, unknown)


@dataclass(frozen=True)
class _Best:
    """What was measured of q* on one set of draws, `[n]` each."""

    elbo: Estimate
    gap: Estimate
    evidence: Evidence
    left: Tensor


def _split(
    encoder: Elbo, best: _Best, approximation: Estimate, evidence: Estimate, khat: Tensor
) -> InferenceGaps:
    """The gaps from the ELBO of the encoder, the best one, and log p(x)."""
    amortisation = subtract(best.elbo, encoder)
    total = Estimate(
        value=approximation.value + amortisation.value,
        stderr=combine_errors(evidence.stderr, encoder.stderr),
    )

    return InferenceGaps(
        approximation=approximation,
        amortisation=amortisation,
        total=total,
        log_evidence=_keep_estimate(evidence),
        best_elbo=best.elbo,
        elbo=_keep_estimate(encoder),
        khat=khat,
        left=best.left,
    )


def _measure_best(
    search: Search, pair: nn.Module, data: tuple, num_samples: int, progress: bool
) -> _Best:
    """Fit q* to each datum and measure it, one block of data after the other."""
    n = data[0].shape[0]
    fitting = min(search.count_rows(data[0]), count_fitting(num_samples))

    blocks = []
    with progress_bar(search.num_steps * n, "refitting", show=progress) as bar, quietly(pair):
        for _, block in cut(data, even_out(n, fitting)):
            found = search.fit(pair, block, bar)
            log_weight = weigh_draws(found.q, pair, block, num_samples)
            blocks.append(_measure(log_weight, found.left.to(log_weight)))
    return join_blocks(blocks)


def _measure(log_weight: Tensor, left: Tensor) -> _Best:
    return _Best(
        elbo=_widen(average_draws(log_weight), left),
        gap=_widen(estimate_gap(log_weight), left),
        evidence=estimate_evidence(log_weight),
        left=left,
    )


def _widen(estimate: Estimate, left: Tensor) -> Estimate:
    """The same number, with what is left to climb in its error."""
    return Estimate(value=estimate.value, stderr=combine_errors(estimate.stderr, left))


def _keep_estimate(found: Estimate) -> Estimate:
    """The number and its error of a result that holds more."""
    return Estimate(value=found.value, stderr=found.stderr)


def _match(estimate: Estimate, like: Tensor) -> Estimate:
    """An estimate on the device and in the precision of another tensor."""
    return Estimate(value=estimate.value.to(like), stderr=estimate.stderr.to(like))


def _check_evidence(log_evidence: Estimate, data: tuple) -> None:
    """Raise an error unless log p(x) is an estimate with one number for each datum."""
    if not isinstance(log_evidence, Estimate):
        raise TypeError(
            "log_evidence: expected fields value and stderr, tensors [n] in an Estimate, as "
            "log_evidence and annealed_log_evidence return, got "
            f"{type(log_evidence).__name__}"
        )

    n = data[0].shape[0]
    for field in ("value", "stderr"):
        values = vars(log_evidence)[field]
        if not isinstance(values, Tensor):
            raise TypeError(f"log_evidence: expected {field} as a tensor [n], got {values!r}")
        if tuple(values.shape) != (n,):
            raise ValueError(
                f"log_evidence: expected {field} of shape ({n},), one for each datum, got "
                f"{tuple(values.shape)}"
            )


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Inside this context the random state starts at the seed, if there is one."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(check_seed("seed", seed))
        yield
