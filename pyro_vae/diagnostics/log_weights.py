"""Importance weights of draws of q(z | x): everything else here is a statistic of them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_flag, check_whole
from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import Functions, draw_latents, weigh_in_blocks
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
    others = _compile_functions(pair, len(data)) if compile else None

    total = len(data[0]) * num_samples
    with progress_bar(total, "measuring", show=progress, unit="draw") as bar:
        for _, weights in weigh_in_blocks(
            pair, data, num_samples, others, per_site=per_site, tell=bar.update
        ):
            yield weights.double()


def _compile_functions(pair: nn.Module, count: int) -> Functions:
    """What draws and weighs z of so many data, each as one graph, compiled at its first call.

    Draws that cannot be compiled are made as they are. They are a small part of the work.
    """
    names: list[str] = []

    def draw(k: int, *data: Tensor) -> tuple[Tensor, ...]:
        z, log_variational, _ = draw_latents(pair, data, k)
        names[:] = z
        return log_variational, *z.values()

    def score(k: int, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        data, values = tensors[:count], tensors[count:]
        return score_joint(pair, data, k, dict(zip(names, values, strict=True)))

    drawing = CompiledLoss(draw, [pair], symbolic=False)
    scoring = CompiledLoss(score, [pair], symbolic=False)

    def draw_compiled(_: nn.Module, data: tuple, k: int) -> tuple:
        try:
            log_variational, *values = drawing(k, *data)
        except RuntimeError:
            z, log_variational, _ = draw_latents(pair, data, k)
            names[:] = z
            return z, log_variational, None
        return dict(zip(names, values, strict=True)), log_variational, None

    def score_compiled(_: nn.Module, data: tuple, k: int, z: dict[str, Tensor]) -> tuple:
        log_likelihood, log_prior = scoring(k, *data, *z.values())
        return log_likelihood, log_prior

    return Functions(draw_compiled, score_compiled)
