"""The one quantity that bounds and estimates of log p(x) are statistics of."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import weigh_in_blocks
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.weights import Weights, score_joint


def log_weights(pair: nn.Module, *data: Tensor, num_samples: int, compile: bool = False) -> Tensor:
    r"""Importance weights of draws of q(z | x), in nats.

    .. math:: \log w_{ki} = \log p(x_i, z_{ki}) - \log q(z_{ki} \mid x_i), \qquad z_{ki} \sim q(z
    \mid x_i)

    Their mean over k estimates the ELBO; the mean of their exponentials is an unbiased estimate of
    p(x).

    Arguments:
        pair: The pair; it is measured in eval mode and put back.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: k.
        compile: Compile p(x, z), which pays from some ten seconds of work on (see `CompiledLoss`).

    Returns:
        `[k, n]`.

    Raises:
        TypeError, ValueError: if the data do not fit the likelihood, or the pair has no weight per
            datum (a latent that one side lacks, a site outside the plate "data", a plate that
            subsamples).

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> log_weights(vae, torch.ones(5, 3), num_samples=10).shape
        torch.Size([10, 5])
    """
    parts = [
        t.log_likelihood + t.log_prior - t.log_variational
        for t in measured(pair, data, num_samples, compile=compile)
    ]
    return torch.cat(parts, dim=1)


def measured(
    pair: nn.Module, data: tuple, num_samples: int, progress: bool = False, compile: bool = False
) -> Iterator[Weights]:
    """The terms `[k, n of a block]` of checked data, in float64, a block after the other."""
    if not isinstance(num_samples, int) or num_samples < 1:
        raise ValueError(f"num_samples: expected a positive whole number, got {num_samples!r}")
    data = check_data(pair, data)
    device = next((p.device for p in pair.parameters()), data[0].device)
    data = tuple(d.to(device) for d in data)
    with progress_bar(data[0].shape[0], "measuring", show=progress, unit="datum") as bar:
        for block, found in weigh_in_blocks(pair, data, num_samples, _compiled(pair) if compile else None):
            yield Weights(*(t.double() for t in found))
            bar.update(block.stop - block.start)


def _compiled(pair: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
    """`log_joint`, compiled at its first call for the shapes it meets there."""
    compiled: list[CompiledLoss] = []

    def joint(pair: nn.Module, data: tuple, k: int, z: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        def flat(*tensors: Tensor) -> tuple[Tensor, Tensor]:
            return score_joint(
                pair, tensors[: len(data)], k, dict(zip(z, tensors[len(data) :], strict=True))
            )

        if not compiled:
            compiled.append(CompiledLoss(flat, [pair], symbolic=False))
        return compiled[0](*data, *z.values())

    return joint


def stderr(draws: Tensor) -> Tensor:
    """The standard error of the mean over the first dimension; infinite for a single draw."""
    k = draws.shape[0]
    return draws.std(0) / k**0.5 if k > 1 else torch.full_like(draws[0], float("inf"))
