"""Nats per step of sequences, from nats per sequence."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.arguments import as_tensor, check_type
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.pairs.sequence import check_lengths


@dataclass(frozen=True)
class PerStep(Estimate):
    """Nats per step of each sequence, `[n]`, and of all together.

    Attributes:
        value: The nats of a sequence over its length.
        stderr: Its Monte Carlo standard error.
        total: The nats of all sequences over the steps of all, floats. This is the number that is
            published. A long sequence counts more in it than a short one.
        steps: The steps of all sequences.
    """

    total: Estimate
    steps: int

    def __str__(self) -> str:
        total = self.total
        return (
            f"{total.value:.4f} ± {total.stderr:.4f} nats per step, {self.steps} steps of "
            f"{len(self.value)} sequences"
        )

    __repr__ = __str__


def per_step(estimate: Estimate, lengths: Tensor) -> PerStep:
    r"""Nats per step, from nats per sequence: of the ELBO, of log p(x), or of a gap.

    .. math:: \frac{\log p(x_i)}{T_i}, \qquad \frac{\sum_i \log p(x_i)}{\sum_i T_i}

    The second form is the one of Boulanger-Lewandowski, Bengio & Vincent (2012) and of later
    tables of polyphonic music.

    Arguments:
        estimate: One number for each sequence, `[n]`, independent of each other: what
            `diagnostics.elbo` or `diagnostics.log_evidence` returned.
        lengths: The lengths T_i, whole numbers `[n]`.

    Returns:
        A `PerStep`. The error of the total is that of the draws. The sequences are fixed.

    Raises:
        TypeError: if lengths are no whole numbers `[n]`.
        ValueError: if a length is below 1, or there is not one for each sequence.

    Example:
        >>> found = Estimate(torch.tensor([-4.0, -6.0]), torch.tensor([0.3, 0.4]))
        >>> per_step(found, torch.tensor([2, 3]))
        -2.0000 ± 0.1000 nats per step, 5 steps of 2 sequences
    """
    check_type("estimate", estimate, Estimate, "an Estimate, what diagnostics.elbo returned")
    lengths = as_tensor("lengths", lengths)
    check_lengths(lengths)
    if lengths.shape != estimate.value.shape:
        raise ValueError(
            f"lengths: expected one for each of the sequences, {tuple(estimate.value.shape)}, got "
            f"{tuple(lengths.shape)}"
        )

    steps = int(lengths.sum())
    lengths = lengths.to(estimate.value.device)
    total = Estimate(
        value=estimate.value.sum().item() / steps,
        stderr=torch.linalg.vector_norm(estimate.stderr).item() / steps,
    )
    return PerStep(
        value=estimate.value / lengths,
        stderr=estimate.stderr / lengths,
        total=total,
        steps=steps,
    )
