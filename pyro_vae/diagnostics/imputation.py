"""What the missing cells of x may be, given the observed ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributions as td

from pyro_vae.arguments import check_whole
from pyro_vae.diagnostics.estimate import Estimate, average_weighted
from pyro_vae.diagnostics.resampling import count_effective, draw_weighted, resample
from pyro_vae.distributions.columns import Product
from pyro_vae.distributions.missing import Missing, log_cells
from pyro_vae.progress import progress_bar
from pyro_vae.supports import elementwise
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.intake import admit
from pyro_vae.weights.traces import observed_sites, quietly, trace


@dataclass(frozen=True)
class Imputation(Estimate):
    """x with its missing cells filled in. Observed cells are as they were.

    Attributes:
        value: `[n, *event]`. At a missing cell it is the mean of p(x_mis | x_obs), or the most
            probable value where the family is discrete.
        stderr: `[n, *event]`, the Monte Carlo standard error of that mean, or of the probability of
            that value. It is 0 where x is observed.
        ess: The effective sample size per datum, `[n]`, between 1 and the number of samples.
        draws: `[draws, n, *event]`, completed data for multiple imputation.
    """

    ess: Tensor
    draws: Tensor


def impute(
    pair: nn.Module, *data: Tensor, num_samples: int = 1000, draws: int = 0, progress: bool = True
) -> Imputation:
    r"""Fill in missing cells by self-normalised importance sampling with q(z | x) as proposal.

    .. math:: E[x_\mathrm{mis} \mid x_\mathrm{obs}] \approx
        \sum_k \bar w_k \, E[x_\mathrm{mis} \mid z_k, x_\mathrm{obs}],
        \qquad \bar w_k \propto \frac{p(x_\mathrm{obs}, z_k)}{q(z_k \mid x_\mathrm{obs})}

    For a draw, z is resampled by those weights and x is drawn given it (Rubin, 1987). (Mattei &
    Frellsen, 2019)

    Arguments:
        pair: A pair whose likelihood is a `pv.missing(...)`.
        data: x, `[n, *event]`, with NaN in its missing cells, and what else the model takes.
        num_samples: Draws of z for each datum.
        draws: How many completed data to draw.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        An `Imputation`.

    Raises:
        TypeError, ValueError: as `log_weights`; if no likelihood of the pair takes missing values,
            or num_samples or draws is no such number.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.missing(pv.Normal(3, given=2)),
        ...     variational=pv.Normal(2, given=3, net=pv.masked()),
        ... )
        >>> x = torch.tensor([[0.0, torch.nan, 1.0]])
        >>> found = pv.diagnostics.impute(vae, x, draws=5)
        >>> found.value.isfinite().all().item(), found.draws.shape
        (True, torch.Size([5, 1, 3]))
    """
    num_samples = check_whole("num_samples", num_samples)
    draws = check_whole("draws", draws, least=0)
    data = admit(pair, data)
    n = data[0].shape[0]
    size = count_fitting(num_samples * count_numbers(data[0]))

    parts = []
    with progress_bar(n, "imputing", show=progress, unit="datum") as bar, quietly(pair):
        for _, block in cut(data, size):
            parts.append(_impute_block(pair, block, num_samples, draws))
            bar.update(block[0].shape[0])

    return Imputation(
        value=torch.cat([part.value for part in parts]),
        stderr=torch.cat([part.stderr for part in parts]),
        ess=torch.cat([part.ess for part in parts]),
        draws=torch.cat([part.draws for part in parts], dim=1),
    )


def _impute_block(pair: nn.Module, data: tuple, num_samples: int, draws: int) -> Imputation:
    x = data[0]
    z, weights = draw_weighted(pair, data, num_samples)
    p = _find_likelihood(pair, data, num_samples, z).given_observed(x)

    complete = p.expand(weights.shape).sample().to(x.dtype)
    cells = _estimate_cells(p, weights, complete, x)
    drawn = resample(weights, complete, draws)

    is_missing = x.isnan()
    return Imputation(
        value=torch.where(is_missing, cells.value, x),
        stderr=torch.where(is_missing, cells.stderr, 0.0),
        ess=count_effective(weights),
        draws=torch.where(is_missing, drawn, x),
    )


def _find_likelihood(
    pair: nn.Module, data: tuple, num_samples: int, z: dict[str, Tensor]
) -> Missing:
    """p(x | z) of the first site that takes missing values, at draws of z."""
    sites = observed_sites(trace(pair.model, data, draws=num_samples, latents=z)).values()
    found = [site["fn"] for site in sites if isinstance(site["fn"], Missing)]
    if found:
        return found[0]

    raise ValueError(
        "pair: no likelihood of it takes missing values; wrap it, likelihood=pv.missing(...)"
    )


def _estimate_cells(p: td.Distribution, weights: Tensor, complete: Tensor, x: Tensor) -> Estimate:
    """An estimate for every cell of x, `[n, *event]`, from completed data `[k, n, *event]`."""
    wide = weights.reshape(weights.shape + (1,) * (x.dim() - 1))
    value, stderr = torch.zeros_like(x), torch.zeros_like(x)
    for cells, part in _split_families(p):
        draws = complete[(slice(None), *cells)]
        found = _estimate_family(part, wide, draws, x[cells].isnan())
        value[cells], stderr[cells] = found.value, found.stderr

    return Estimate(value, stderr)


def _split_families(p: td.Distribution) -> Iterator[tuple[tuple, td.Distribution]]:
    """The cells that are of one family, as an index of `[n, *event]`, and their distribution."""
    if not isinstance(p, Product):
        yield (slice(None),), p
        return

    start = 0
    for part, size in zip(p.parts.values(), p.sizes, strict=True):
        yield (slice(None), slice(start, start + size)), part
        start += size


def _estimate_family(
    p: td.Distribution, weights: Tensor, complete: Tensor, is_missing: Tensor
) -> Estimate:
    if elementwise(p.support).is_discrete:
        return _find_most_probable(p, weights, complete, is_missing)

    return average_weighted(weights, find_mean(p, complete))


def find_mean(p: td.Distribution, complete: Tensor) -> Tensor:
    """The mean of x given each z, or the draw of x where there is no finite mean."""
    try:
        mean = p.mean.expand(complete.shape)
    except NotImplementedError:
        return complete
    return torch.where(mean.isfinite(), mean, complete)


def _find_most_probable(
    p: td.Distribution, weights: Tensor, complete: Tensor, is_missing: Tensor
) -> Estimate:
    """The most probable of the values that were drawn, with the error of its probability."""
    top = 0
    if is_missing.any():
        top = int(complete[:, is_missing].max())

    best = Estimate(torch.full_like(complete[0], -1.0), torch.full_like(complete[0], -1.0))
    value = torch.zeros_like(best.value)
    for level in range(top + 1):
        log_p = log_cells(p, torch.full_like(complete, float(level)))
        probability = average_weighted(weights, log_p.exp())
        is_better = probability.value > best.value
        value = torch.where(is_better, float(level), value)
        best = _choose(is_better, probability, best)

    return Estimate(value, best.stderr)


def _choose(is_first: Tensor, first: Estimate, second: Estimate) -> Estimate:
    """The first estimate where it is chosen, else the second."""
    return Estimate(
        value=torch.where(is_first, first.value, second.value),
        stderr=torch.where(is_first, first.stderr, second.stderr),
    )
