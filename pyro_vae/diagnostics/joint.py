"""The KL of the joints q(x, z) and p(x, z), factored in both ways."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.arguments import as_tensor, check_whole
from pyro_vae.diagnostics.aggregate import (
    Drawn,
    admit_unmasked,
    refuse_different,
    score_in_blocks,
)
from pyro_vae.diagnostics.enumeration import enumerate_latent, expect
from pyro_vae.diagnostics.estimate import (
    Estimate,
    average_data,
    average_draws,
    join_blocks,
    to_plain,
    write_estimate,
)
from pyro_vae.diagnostics.evidence import log_evidence as sample_log_evidence
from pyro_vae.weights.weights import Weights

EVIDENCE_SAMPLES = 1000  # draws for log p(x), where it is not given


@dataclass(frozen=True)
class JointKL:
    """KL(q(x, z) ‖ p(x, z)) and its two factorings, in nats.

    total = posterior + evidence = marginal + likelihood.

    Attributes:
        total: The KL of the joints. Its part that depends on z is minus the mean ELBO.
        posterior: The mean of KL(q(z | x) ‖ p(z | x)) over the data.
        evidence: KL(p_D ‖ p(x)). For continuous x it is relative, see `joint_kl`.
        marginal: KL(q(z) ‖ p(z)).
        likelihood: The mean of KL(q(x | z) ‖ p(x | z)) over q(z). For continuous x it is relative
            as well.
    """

    total: Estimate
    posterior: Estimate
    evidence: Estimate
    marginal: Estimate
    likelihood: Estimate

    def as_dict(self) -> dict:
        """Numbers for a JSON file."""
        return {"unit": "nats", **to_plain(self)}

    def __str__(self) -> str:
        rows = [
            ("KL(q(x,z) ‖ p(x,z))", self.total),
            ("  = E KL(q(z|x) ‖ p(z|x))", self.posterior),
            ("  + KL(p_D ‖ p(x))", self.evidence),
            ("  = KL(q(z) ‖ p(z))", self.marginal),
            ("  + E KL(q(x|z) ‖ p(x|z))", self.likelihood),
        ]
        return "\n".join(f"{label:<28} {write_estimate(estimate)}" for label, estimate in rows)

    __repr__ = __str__


def joint_kl(
    pair: nn.Module,
    *data: Tensor,
    num_samples: int = 10,
    log_evidence: Tensor | Estimate | None = None,
    progress: bool = True,
) -> JointKL:
    r"""KL(q(x, z) ‖ p(x, z)), q(x, z) = p_D(x) q(z | x), factored by z given x and by x given z.

    .. math::
        KL(q(x,z) \,\|\, p(x,z)) &= E_{p_D} KL(q(z|x) \,\|\, p(z|x)) + KL(p_D \,\|\, p) \\
            &= KL(q(z) \,\|\, p(z)) + E_{q(z)} KL(q(x|z) \,\|\, p(x|z)),
            \qquad q(x_i|z) = \frac{q(z|x_i)}{N q(z)}

    p_D gives each of the N data 1/N. Equal data are one value of x, with their weights added. The
    two sums are equal on the same draws.

    For discrete x all terms are KLs. For continuous x p_D has no density. KL(p_D ‖ p) is then
    written for -log N - mean log p(x), and E KL(q(x|z) ‖ p(x|z)) is off by the same constant. These
    two can be negative, and they change with the unit of x. Only their differences, between models
    of the same data, mean something. The KLs of z are not touched by that.

    A single latent of few values is summed over. The result is then exact, and `log_evidence` is
    not needed.

    Arguments:
        pair: Any pair whose p(z) is the same for all data.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        log_evidence: log p(x) per datum, `[n]`, or the `Estimate` of it that `log_evidence` or
            `annealed_log_evidence` returned. By default it is importance sampling with 1000 draws,
            which makes `posterior` a lower bound in expectation, and `evidence` an upper one.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `JointKL`. Its `str` is a table.

    Raises:
        TypeError, ValueError: as `latents`; and if log_evidence is not `[n]`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> found = joint_kl(vae, torch.bernoulli(torch.full((20, 3), 0.5)))
        >>> first, second = found.posterior, found.marginal
        >>> abs(first.value + found.evidence.value - second.value - found.likelihood.value) < 1e-6
        True
    """
    num_samples = check_whole("num_samples", num_samples)
    data = admit_unmasked(pair, data)
    log_p_data = _weigh_rows(data)
    if log_evidence is not None:
        log_p = _read_evidence(log_evidence, log_p_data)
    enumerated = enumerate_latent(pair, data)
    if enumerated is not None:
        return _measure_exactly(enumerated[1], log_p_data)

    if log_evidence is None:
        log_p = sample_log_evidence(pair, *data, num_samples=EVIDENCE_SAMPLES, progress=progress)
    blocks = score_in_blocks(pair, data, num_samples, progress=progress, decode=True)
    parts = join_blocks([_average_block(drawn, log_p_data) for drawn in blocks])
    return _average_parts(parts, log_p, log_p_data)


def _weigh_rows(data: tuple) -> Tensor:
    """log p_D of each datum, `[n]`, float64: the share of the data that are equal to it."""
    keys = [_number_rows(d) for d in data]
    _, place, counts = torch.stack(keys, 1).unique(dim=0, return_inverse=True, return_counts=True)

    return (counts[place].double() / len(place)).log()


def _number_rows(values: Tensor) -> Tensor:
    """A number for each row, the same where rows are equal, `[n]`."""
    return values.reshape(values.shape[0], -1).unique(dim=0, return_inverse=True)[1]


def _read_evidence(log_evidence: Tensor | Estimate, like: Tensor) -> Estimate:
    """log p(x) as an estimate, of the type of another tensor `[n]`. A tensor has no error."""
    if not isinstance(log_evidence, Estimate):
        log_evidence = Estimate(as_tensor("log_evidence", log_evidence), torch.zeros_like(like))
    value = torch.as_tensor(log_evidence.value).to(like)
    stderr = torch.as_tensor(log_evidence.stderr).to(like)

    if value.shape != like.shape or stderr.shape != like.shape:
        raise ValueError(
            f"log_evidence: expected log p(x) per datum, shape {list(like.shape)}, got "
            f"{list(value.shape)}"
        )
    return Estimate(value, stderr)


@dataclass(frozen=True)
class _Parts:
    """What draws tell of the joint KL, per datum, `[n]`."""

    elbo: Estimate
    marginal: Estimate
    likelihood: Estimate


def _average_block(drawn: Drawn, log_p_data: Tensor) -> _Parts:
    """The means over the draws of a block."""
    assert drawn.log_likelihood is not None, "it was asked for"
    log_q_x = log_p_data[drawn.rows] + drawn.own - drawn.aggregate

    return _Parts(
        elbo=average_draws(drawn.log_likelihood + drawn.log_prior - drawn.own),
        marginal=average_draws(drawn.aggregate - drawn.log_prior),
        likelihood=average_draws(log_q_x - drawn.log_likelihood),
    )


def _average_parts(parts: _Parts, log_p: Estimate, log_p_data: Tensor) -> JointKL:
    """The means over the data."""
    elbo, mean_log_p = average_data(parts.elbo), average_data(log_p)

    return JointKL(
        total=Estimate(log_p_data.mean().item() - elbo.value, elbo.stderr),
        posterior=Estimate(
            value=mean_log_p.value - elbo.value,
            stderr=math.hypot(mean_log_p.stderr, elbo.stderr),
        ),
        evidence=Estimate((log_p_data - log_p.value).mean().item(), mean_log_p.stderr),
        marginal=average_data(parts.marginal),
        likelihood=average_data(parts.likelihood),
    )


def _measure_exactly(weights: Weights, log_p_data: Tensor) -> JointKL:
    """The sums over all values of a single latent, from the weights at each, `[K, n]`."""
    refuse_different(weights.log_prior)
    log_q, log_joint = weights.log_variational, weights.log_joint
    q = log_q.exp()
    aggregate = log_q.logsumexp(1, keepdim=True) - math.log(len(log_p_data))
    log_p = log_joint.logsumexp(0)
    log_q_x = log_p_data + log_q - aggregate

    return JointKL(
        total=Estimate(expect(q, log_p_data + log_q - log_joint), 0.0),
        posterior=Estimate(expect(q, log_q - log_joint + log_p), 0.0),
        evidence=Estimate((log_p_data - log_p).mean().item(), 0.0),
        marginal=Estimate(expect(q, aggregate - weights.log_prior), 0.0),
        likelihood=Estimate(expect(q, log_q_x - weights.log_likelihood), 0.0),
    )
