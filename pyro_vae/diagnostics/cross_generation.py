"""What the missing modalities may be, given those that are there."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae.arguments import check_whole
from pyro_vae.diagnostics.estimate import (
    Estimate,
    average_draws,
    average_weighted,
    join_blocks,
)
from pyro_vae.diagnostics.resampling import count_effective, draw_weighted, resample
from pyro_vae.pairs.multimodal import MultimodalVAE
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.intake import admit
from pyro_vae.weights.traces import observed_sites, quietly, trace


@dataclass(frozen=True)
class CrossGenerated:
    """Each modality, given those that are there in its row.

    Where a modality is there itself, what is given is another one of the same z.

    Attributes:
        variational: The mean of x_m by name, `[n, *event]`, with z ~ q(z | x). It is NaN where the
            family has no mean.
        posterior: The mean of p(x_m | x), by weighted draws. Of one-hot vectors it is the
            probability of each class.
        ess: The effective sample size per datum, `[n]`, between 1 and the number of samples.
        draws: Draws of p(x_m | x) by name, `[draws, n, *event]`, resampled by their weights.
    """

    variational: dict[str, Estimate]
    posterior: dict[str, Estimate]
    ess: Tensor
    draws: dict[str, Tensor]


def cross_generate(
    pair: MultimodalVAE,
    *data: Tensor,
    num_samples: int = 1000,
    draws: int = 0,
    progress: bool = True,
) -> CrossGenerated:
    r"""One modality from others: by q(z | x), and by Bayes' rule.

    .. math:: E[x_m \mid x] \approx \sum_k \bar w_k \, E[x_m \mid z_k],
        \qquad \bar w_k \propto \frac{p(x, z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

    Where the two differ by more than their errors, q(z | x) is not the posterior, and the weights
    mend it as far as there are effective samples. (Wu & Goodman, 2018, who take q)

    Arguments:
        pair: A `MultimodalVAE`.
        data: A tensor for each modality. What is NaN throughout a row is missing there.
        num_samples: Draws of q(z | x) for each datum, k.
        draws: How many draws of each modality to return.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `CrossGenerated`.

    Raises:
        TypeError: if the pair is no `MultimodalVAE`, or num_samples or draws is no whole number.
        ValueError: if the data do not fit.

    Example:
        >>> pair = pv.MultimodalVAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihoods={
        ...         "image": pv.Bernoulli(8, given=2),
        ...         "label": pv.OneHotCategorical(3, given=2),
        ...     },
        ...     experts={"image": pv.Normal(2, given=8), "label": pv.Normal(2, given=3)},
        ... )
        >>> image, unknown = torch.ones(5, 8), torch.full((5, 3), torch.nan)
        >>> found = cross_generate(pair, image, unknown, draws=4)
        >>> found.posterior["label"].value.shape, found.draws["image"].shape
        (torch.Size([5, 3]), torch.Size([4, 5, 8]))
    """
    check_multimodal(pair)
    num_samples = check_whole("num_samples", num_samples)
    draws = check_whole("draws", draws, least=0)
    data = admit(pair, data)
    n = data[0].shape[0]
    rows = count_fitting(num_samples * sum(map(count_numbers, data)))

    parts = []
    with progress_bar(n, "generating", show=progress, unit="datum") as bar, quietly(pair):
        for _, block in cut(data, rows):
            parts.append(_generate(pair, block, num_samples, draws))
            bar.update(block[0].shape[0])

    return _join(parts)


def check_multimodal(pair: object) -> None:
    """Raise a TypeError unless a pair has modalities."""
    if not isinstance(pair, MultimodalVAE):
        raise TypeError(f"pair: expected a MultimodalVAE, got {type(pair).__name__}")


def _generate(pair: MultimodalVAE, data: tuple, k: int, draws: int) -> CrossGenerated:
    z, weights = draw_weighted(pair, data, k)
    sites = observed_sites(trace(pair.model, data, draws=k, latents=z))

    variational, posterior, drawn = {}, {}, {}
    for name, site in sites.items():
        mean = _find_mean(site["fn"])
        wide = weights.reshape(weights.shape + (1,) * (mean.dim() - 2))
        variational[name] = average_draws(mean)
        posterior[name] = average_weighted(wide, mean)
        drawn[name] = resample(weights, site["fn"].sample(), draws)

    return CrossGenerated(
        variational=variational,
        posterior=posterior,
        ess=count_effective(weights),
        draws=drawn,
    )


def _find_mean(fn: Distribution) -> Tensor:
    """The mean of a distribution, or NaN where its family has none."""
    try:
        return fn.mean
    except NotImplementedError:
        return torch.full(fn.batch_shape + fn.event_shape, torch.nan)


def _join(parts: list[CrossGenerated]) -> CrossGenerated:
    """The results of blocks of data as one."""
    return CrossGenerated(
        variational=_join_estimates([part.variational for part in parts]),
        posterior=_join_estimates([part.posterior for part in parts]),
        ess=torch.cat([part.ess for part in parts]),
        draws={
            name: torch.cat([part.draws[name] for part in parts], dim=1) for name in parts[0].draws
        },
    )


def _join_estimates(parts: list[dict[str, Estimate]]) -> dict[str, Estimate]:
    return {name: join_blocks([part[name] for part in parts], dim=0) for name in parts[0]}
