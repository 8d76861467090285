"""What the missing cells of x may be, given the observed ones."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch import distributions as td

from pyro_vae.diagnostics.elbo import gathered
from pyro_vae.distributions.columns import Product
from pyro_vae.distributions.missing import Missing, log_cells
from pyro_vae.progress import progress_bar
from pyro_vae.supports import elementwise
from pyro_vae.weights.blocks import KEPT
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.traces import latent_values, quietly, sample_sites, trace
from pyro_vae.weights.weights import weigh


class Imputation(NamedTuple):
    """x with its missing cells filled in; observed cells are as they were.

    Attributes:
        value: `[n, *event]`: at a missing cell the mean of p(x_mis | x_obs), or the most probable
            value where the family is discrete.
        stderr: `[n, *event]`, the Monte Carlo standard error of that mean, or of the probability of
            that value; 0 where x is observed.
        ess: The effective sample size per datum, `[n]`, between 1 and the number of samples.
        draws: `[draws, n, *event]`, completed data for multiple imputation.
    """

    value: Tensor
    stderr: Tensor
    ess: Tensor
    draws: Tensor


def impute(
    pair: nn.Module, *data: Tensor, num_samples: int = 1000, draws: int = 0, progress: bool = True
) -> Imputation:
    r"""Fill in missing cells from the posterior, by self-normalised importance sampling with q(z |
    x) as proposal.

    .. math:: E[x_\mathrm{mis} \mid x_\mathrm{obs}] \approx
        \sum_k \bar w_k \, E[x_\mathrm{mis} \mid z_k, x_\mathrm{obs}],
        \qquad \bar w_k \propto \frac{p(x_\mathrm{obs}, z_k)}{q(z_k \mid x_\mathrm{obs})}

    Draws are resampled z by those weights, and then x given them (Rubin, 1987). (Mattei & Frellsen,
    2019)

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
    for name, count, least in (("num_samples", num_samples, 1), ("draws", draws, 0)):
        if not isinstance(count, int) or count < least:
            raise ValueError(f"{name}: expected a whole number of at least {least}, got {count!r}")
    data = check_data(pair, data)
    device = next((p.device for p in pair.parameters()), data[0].device)
    data = tuple(d.to(device) for d in data)
    x = data[0]
    rows = max(1, KEPT // (num_samples * max(1, x[0].numel())))
    parts = []
    with progress_bar(x.shape[0], "imputing", show=progress, unit="datum") as bar, quietly(pair):
        for part in zip(*(d.split(rows) for d in data), strict=True):
            parts.append(_impute(pair, part, num_samples, draws))
            bar.update(part[0].shape[0])
    found = gathered([p._replace(draws=p.draws.movedim(0, 1)) for p in parts])
    return found._replace(draws=found.draws.movedim(1, 0))


def _impute(pair: nn.Module, data: tuple, num_samples: int, draws: int) -> Imputation:
    x = data[0]
    z = latent_values(trace(pair.guide, data, draws=num_samples))
    t = weigh(pair, data, num_samples, z)
    w = (t.log_likelihood + t.log_prior - t.log_variational).softmax(0)
    sites = sample_sites(trace(pair.model, data, draws=num_samples, latents=z)).values()
    likelihood = next(
        (site["fn"] for site in sites if site["is_observed"] and isinstance(site["fn"], Missing)),
        None,
    )
    if likelihood is None:
        raise ValueError(
            "pair: no likelihood of it takes missing values; wrap it, likelihood=pv.missing(...)"
        )

    p = likelihood.given_observed(x)
    complete = p.expand(w.shape).sample().to(x.dtype)
    wide = w.reshape(w.shape + (1,) * (x.dim() - 1))
    value, stderr = torch.zeros_like(x), torch.zeros_like(x)
    for cells, q in _parts(p):
        value[cells], stderr[cells] = _summary(
            q, wide, complete[(slice(None), *cells)], x[cells].isnan()
        )

    holes = x.isnan()
    k = torch.multinomial(w.T, max(draws, 1), replacement=True).T[:draws]
    drawn = complete[k, torch.arange(x.shape[0], device=x.device)]
    return Imputation(
        torch.where(holes, value, x),
        torch.where(holes, stderr, 0.0),
        1 / w.square().sum(0),
        torch.where(holes, drawn, x),
    )


def _parts(p: td.Distribution) -> Iterator[tuple[tuple, td.Distribution]]:
    """The cells that are of one family, as an index of `[n, *event]`, and their distribution."""
    if not isinstance(p, Product):
        yield (slice(None),), p
        return
    start = 0
    for part, size in zip(p.parts.values(), p.sizes, strict=True):
        yield (slice(None), slice(start, start + size)), part
        start += size


def _summary(
    p: td.Distribution, w: Tensor, complete: Tensor, holes: Tensor
) -> tuple[Tensor, Tensor]:
    if not elementwise(p.support).is_discrete:
        try:
            mean = p.mean.expand(complete.shape)
        except NotImplementedError:
            mean = complete
        return _weighted(w, torch.where(mean.isfinite(), mean, complete))

    top = int(complete[:, holes].max()) if holes.any() else 0
    best = best_error = torch.full_like(complete[0], -1.0)
    value = torch.zeros_like(best)
    for level in range(top + 1):
        probability, error = _weighted(
            w, log_cells(p, torch.full_like(complete, float(level))).exp()
        )
        better = probability > best
        value = torch.where(better, float(level), value)
        best, best_error = (
            torch.where(better, probability, best),
            torch.where(better, error, best_error),
        )
    return value, best_error


def _weighted(w: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean over draws, and its standard error by the delta method."""
    mean = (w * f).sum(0)
    return mean, (w * (f - mean)).square().sum(0).sqrt()
