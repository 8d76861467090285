"""Importance weights of draws of q(z | x): everything else here is a statistic of them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_flag, check_whole
from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import weigh_in_blocks
from pyro_vae.weights.intake import admit
from pyro_vae.weights.threads import sparing_threads
from pyro_vae.weights.weights import Weights, score_joint


@sparing_threads("num_samples")
def log_weights(pair: nn.Module, *data: Tensor, num_samples: int, compile: bool = False) -> Tensor:
    r"""Importance weights of draws of q(z | x), in nats.

    .. math:: \log w_{ki} = \log p(x_i, z_{ki}) - \log q(z_{ki} \mid x_i), \qquad z_{ki} \sim q(z
        \mid x_i)

    Their mean over k estimates the ELBO. The mean of their exponentials is an unbiased estimate of
    p(x).

    Arguments:
        pair: The pair. It is measured in eval mode and put back.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum, k.
        compile: Compile p(x, z). That pays from some ten seconds of work on, see `CompiledLoss`.

    Returns:
        `[k, n]`, float64.

    Raises:
        TypeError, ValueError: if the data do not fit the likelihood, or num_samples is no positive
            whole number.
        ValueError: if the pair has no weight per datum: one side lacks a latent, a site lies
            outside the plate over the data, a plate subsamples, or draws that are scored together
            are scored otherwise than one by one.

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
    blocks = weigh_data(pair, data, num_samples, compile=compile)

    return torch.cat([weights.log_weight for weights in blocks], dim=1)


def weigh_data(
    pair: nn.Module,
    data: tuple,
    num_samples: int,
    *,
    progress: bool = False,
    compile: bool = False,
    per_site: bool = False,
) -> Iterator[Weights]:
    """Admit data and weigh draws of q(z | x), one block of data after the other.

    Returns:
        For each block its `Weights`, `[k, rows]`, float64.

    Raises:
        TypeError, ValueError: as `log_weights`.
    """
    num_samples = check_whole("num_samples", num_samples)
    compile = check_flag("compile", compile)
    data = admit(pair, data)
    joint = _CompiledJoint() if compile else None

    with progress_bar(data[0].shape[0], "measuring", show=progress, unit="datum") as bar:
        for rows, weights in weigh_in_blocks(pair, data, num_samples, joint, per_site=per_site):
            yield weights.double()
            bar.update(rows.stop - rows.start)


class _CompiledJoint:
    """`score_joint`, compiled at its first call for the shapes that it meets there."""

    def __init__(self) -> None:
        self.compiled: CompiledLoss | None = None

    def __call__(
        self, pair: nn.Module, data: tuple, draws: int, latents: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        if self.compiled is None:
            self.compiled = _compile_joint(pair, len(data), draws, list(latents))

        log_likelihood, log_prior = self.compiled(*data, *latents.values())
        return log_likelihood, log_prior


def _compile_joint(pair: nn.Module, count: int, draws: int, names: list[str]) -> CompiledLoss:
    """log p(x | z) and log p(z) as a function of so many data and then of the latents."""

    def score(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        data, values = tensors[:count], tensors[count:]
        latents = dict(zip(names, values, strict=True))
        return score_joint(pair, data, draws, latents)

    return CompiledLoss(score, [pair], symbolic=False)
