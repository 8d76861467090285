"""The aggregate q(z), the mean of q(z | x) over data: draws of a block, scored against all data."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from pyro_vae.progress import progress_bar
from pyro_vae.weights import blocks
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.draws import find_mean
from pyro_vae.weights.intake import admit
from pyro_vae.weights.traces import (
    is_hidden,
    latent_sites,
    latent_values,
    quietly,
    sample_sites,
    trace,
)
from pyro_vae.weights.weights import weigh

# numbers of log q(z | x_j), over draws, data and dimensions, held at a time: more fall out of the
# cache
TABLE = 2**18

Score = Callable[[dict[str, Tensor]], Tensor]


class NoAggregateError(ValueError):
    """There is no one q(z) over all data, or no one p(z) to hold it against."""


@dataclass(frozen=True)
class Levels:
    """Draws of several latents, scored in the order in which the guide draws them, float64.

    Attributes:
        own: log q(z_1, ..., z_l | x) of the draw's own x, `[k, n, levels]`.
        aggregate: log q(z_1, ..., z_l), `[k, n, levels]`.
    """

    own: Tensor
    aggregate: Tensor


@dataclass(frozen=True)
class Drawn:
    """Draws of q(z | x) for a block of data, scored against all data, float64.

    Attributes:
        rows: Where the block lies.
        sizes: How many numbers each latent has, by site, in the order in which they are drawn.
        own: log q(z | x) of the draw's own x, `[k, n]`.
        aggregate: log q(z), `[k, n]`.
        others: The log of the mean of q(z | x) over the other data, `[k, n]`.
        each: log q(z_j) by dimension, `[k, n, d]`, or None.
        prior: log p(z), by dimension if `each` is, and otherwise by latent, `[k, n, d or levels]`.
        mean: E_q[z | x], or the draws where it does not exist, `[k, n, d]`.
        log_likelihood: log p(x | z), `[k, n]`, if asked for.
        levels: The same latent by latent, or None where there is one.
    """

    rows: slice
    sizes: dict[str, int]
    own: Tensor
    aggregate: Tensor
    others: Tensor
    each: Tensor | None
    prior: Tensor
    mean: Tensor
    log_likelihood: Tensor | None
    levels: Levels | None

    @property
    def log_prior(self) -> Tensor:
        """log p(z), `[k, n]`."""
        return self.prior.sum(-1)


def admit_unmasked(pair: nn.Module, data: tuple) -> tuple[Tensor, ...]:
    """Admit data to a measurement of q(z).

    Raises:
        TypeError, ValueError: as `admit`; and if a latent is masked.
    """
    data = admit(pair, data)
    few = tuple(d[:2] for d in data)
    with quietly(pair):
        # the first run adds nothing, but with it one seed gives the numbers that it always gave
        runs = (
            trace(pair.guide, few, draws=1),
            trace(pair.guide, few),
            trace(pair.model, few),
        )

    has_masks = any(site["mask"] is not None for run in runs for site in latent_sites(run).values())
    if has_masks:
        name = find_hidden(pair, data)
        if name is not None:
            raise NoAggregateError(
                f"latent {name!r} is masked in some rows, so q(z) has no density; measure the data "
                "whose latents are all there"
            )
    return data


def find_hidden(pair: nn.Module, data: tuple) -> str | None:
    """A latent that a mask hides in some rows, or None. Random states are left alone."""
    devices = [data[0].device] if data[0].is_cuda else []
    with torch.random.fork_rng(devices=devices), quietly(pair):
        for fn in (pair.guide, pair.model):
            for name, site in latent_sites(trace(fn, data)).items():
                if is_hidden(site):
                    return name
    return None


def score_in_blocks(
    pair: nn.Module, data: tuple, num_samples: int, *, progress: bool, decode: bool = False
) -> Iterator[Drawn]:
    """Draw from q(z | x) for one block of data after the other, and score against all data.

    The cost is the square of the number of data. Memory does not grow with it.

    Arguments:
        pair: The pair.
        data: Data that `admit_unmasked` let in.
        num_samples: Draws for each datum.
        progress: Show a progress bar.
        decode: Compute log p(x | z) as well.

    Raises:
        ValueError: if p(z) depends on the data.
    """
    aggregate = _Aggregate(pair, data, num_samples)
    n = data[0].shape[0]
    with progress_bar(n, "scoring draws against all data", show=progress, unit="datum") as bar:
        for rows, block in cut(data, aggregate.rows):
            yield _draw_block(aggregate, rows, block, num_samples, decode)
            bar.update(rows.stop - rows.start)


class _Aggregate:
    """q(z) and p(z), ready to score draws of z, and how much is taken at a time.

    Attributes:
        n: How many data.
        sizes: How many numbers each latent has, by site.
        d: How many numbers z has.
        is_apart: Whether z is scored by dimension.
        rows: Data of which draws are taken at a time.
        points: Draws that are scored at a time.
        columns: Where a block of the data lies, and log q(z | x) of it. A draw and a block make a
            piece of a table.
        prior: log p(z).
    """

    def __init__(self, pair: nn.Module, data: tuple, num_samples: int):
        self.pair = pair
        self.n = data[0].shape[0]
        numbers = count_numbers(data[0])
        with quietly(pair):
            z = latent_values(trace(pair.guide, tuple(d[:1] for d in data)))
            self.sizes = {name: value.numel() for name, value in z.items()}
            self.d = sum(self.sizes.values())
            self.rows = min(self.n, count_fitting(max(numbers, num_samples * self.d)))
            self.is_apart = _has_independent_dimensions(pair, data)

            # several latents: each piece runs the guide over the data, so the fewer the better
            table = TABLE if len(z) == 1 else blocks.KEPT
            width = min(self.rows, count_fitting(self.d, table))
            self.points = count_fitting(width * self.d, table)
            self.columns = [
                (rows, _make_score(pair.guide, block, z, self.is_apart))
                for rows, block in cut(data, width)
            ]
            _refuse_varying_prior(pair, data, z)
            first = tuple(d[:1] for d in data)
            self.prior = _make_score(pair.model, first, z, self.is_apart)


def _draw_block(
    aggregate: _Aggregate, rows: slice, block: tuple, num_samples: int, decode: bool
) -> Drawn:
    pair, n = aggregate.pair, aggregate.n
    log_likelihood = None
    with quietly(pair):
        run = trace(pair.guide, block, draws=num_samples)
        z = latent_values(run)
        means = [_find_mean(site, num_samples) for site in latent_sites(run).values()]
        mean = torch.cat(means, -1).double()
        each_own, others, each, prior = _score_draws(aggregate, rows, z, num_samples)
        if decode:
            log_likelihood = _decode(pair, block, z, num_samples)
    own = each_own.sum(-1)
    log_q_z = torch.logaddexp(own, others) - math.log(n)
    levels = None
    if len(aggregate.sizes) > 1:
        ahead = each[..., :-1] - math.log(n)
        levels = Levels(
            own=each_own.cumsum(-1),
            aggregate=torch.cat([ahead, log_q_z.unsqueeze(-1)], -1),
        )

    return Drawn(
        rows=rows,
        sizes=aggregate.sizes,
        own=own,
        aggregate=log_q_z,
        others=others - math.log(max(n - 1, 1)),
        each=each - math.log(n) if aggregate.is_apart else None,
        prior=prior,
        mean=mean,
        log_likelihood=log_likelihood,
        levels=levels,
    )


def _score_draws(
    aggregate: _Aggregate, rows: slice, z: dict[str, Tensor], num_samples: int
) -> tuple[Tensor, ...]:
    """What `_score_against` gives, and log p(z), for draws `[k, n, *event]`, `[k, n, ...]` each."""
    flat = {name: value.flatten(0, 1) for name, value in z.items()}
    device = next(iter(z.values())).device
    owner = torch.arange(rows.start, rows.stop, device=device).repeat(num_samples)

    # filled in place: small results kept between large ones would scatter the heap
    m = len(owner)
    across = aggregate.d if aggregate.is_apart else len(z)
    own = torch.empty(m, len(z), dtype=torch.float64, device=device)
    others = own.new_empty(m)
    each, prior = own.new_empty(m, across), own.new_empty(m, across)
    for start in range(0, m, aggregate.points):
        here = slice(start, start + aggregate.points)
        piece = {name: value[here].unsqueeze(1) for name, value in flat.items()}
        scores = _score_against(aggregate.columns, piece, owner[here])
        own[here], others[here], each[here] = scores
        prior[here] = aggregate.prior(piece)[:, 0]

    shape = (num_samples, rows.stop - rows.start)
    return tuple(found.reshape(*shape, *found.shape[1:]) for found in (own, others, each, prior))


def _score_against(
    columns: list[tuple[slice, Score]], z: dict[str, Tensor], owner: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Score draws of z, `[m, 1, *event]`, against all data.

    Arguments:
        columns: Blocks of the data, and log q(z | x) of each.
        z: The draws.
        owner: The row of the datum that each was drawn for, `[m]`.

    Returns:
        log q(z | x) of its own x by latent `[m, levels]`, the log of the sum of q(z | x) over the
        other data `[m]`, and the log of the sum over all data `[m, d or levels]`: of one latent by
        dimension, and of several up to each of them.
    """
    empty = torch.full((len(owner), 1), -math.inf, dtype=torch.float64, device=owner.device)
    own, others, each = empty.repeat(1, len(z)), empty[:, 0].clone(), empty
    for rows, score in columns:
        log_q = score(z)
        ahead = log_q if len(z) == 1 else log_q.double().cumsum(-1)
        each = torch.logaddexp(each, ahead.logsumexp(1).double())

        total = log_q.double().sum(-1)
        is_here = (owner >= rows.start) & (owner < rows.stop)
        at = is_here.nonzero().flatten()
        here = log_q.double()[at, owner[at] - rows.start]
        own[at] = here if len(z) > 1 else here.sum(-1, keepdim=True)
        total[at, owner[at] - rows.start] = -math.inf
        others = torch.logaddexp(others, total.logsumexp(1))
    return own, others, each


def _make_score(fn: Callable, block: tuple, z: dict[str, Tensor], is_apart: bool) -> Score:
    """The log-density of latents `[m, 1, *event]` under a block of n data.

    Arguments:
        fn: The guide, for log q(z | x), or the model, for log p(z).
        block: The data.
        z: A value of each latent, `[1, *event]`, for a run.
        is_apart: Whether to score a single latent by dimension.

    Returns:
        A function of z, to `[m, n, d]` if apart, else `[m, n, latents]`.
    """
    if len(z) > 1:
        return _make_joint_score(fn, block, list(z))

    n = block[0].shape[0]
    ((name, value),) = z.items()
    run = trace(fn, block, latents={name: value.expand(n, *value.shape[1:])})
    p = sample_sites(run)[name]["fn"]
    if is_apart:
        p = _unwrap(p)
        return lambda z: p.log_prob(z[name]).reshape(len(z[name]), n, -1)
    # not every density broadcasts draws against data by itself, a raw flow of zuko does not
    return lambda z: p.log_prob(z[name].expand(-1, n, *z[name].shape[2:])).unsqueeze(-1)


def _make_joint_score(fn: Callable, block: tuple, names: list[str]) -> Score:
    """The log-density of several latents. One may depend on others, so each call runs fn."""
    n = block[0].shape[0]

    def score(z: dict[str, Tensor]) -> Tensor:
        m = z[names[0]].shape[0]
        values = {name: value.expand(m, n, *value.shape[2:]) for name, value in z.items()}
        sites = sample_sites(trace(fn, block, draws=m, latents=values))
        terms = [sites[name]["fn"].log_prob(values[name]).expand(m, n) for name in names]
        return torch.stack(terms, -1)

    return score


def _refuse_varying_prior(pair: nn.Module, data: tuple, z: dict[str, Tensor]) -> None:
    """Refuse a p(z) that depends on the data, as seen at one value of each latent."""
    point = {name: value.unsqueeze(0) for name, value in z.items()}
    terms = []
    for _, block in cut(data, count_fitting(count_numbers(data[0]))):
        score = _make_score(pair.model, block, z, False)
        terms.append(score(point).sum(-1).expand(1, -1))

    refuse_different(torch.cat(terms, 1))


def refuse_different(log_prior: Tensor) -> None:
    """Refuse log p(z) at the same z, `[k, n, ...]`, if it differs between data."""
    first = log_prior[:, :1].expand_as(log_prior)
    if not torch.allclose(log_prior, first, rtol=1e-4, atol=1e-4):
        raise NoAggregateError(
            "p(z) depends on the data (on a covariate, say), so there is no one p(z) to hold the "
            "aggregate q(z) against; measure the data of one value of the covariate at a time"
        )


def _has_independent_dimensions(pair: nn.Module, data: tuple) -> bool:
    """Whether there is one latent, whose dimensions are independent under p(z) and q(z | x)."""
    few = tuple(d[:1] for d in data)
    guide, model = trace(pair.guide, few), trace(pair.model, few)
    sites = latent_sites(guide)
    if len(sites) > 1:
        return False

    ((name, site),) = sites.items()
    densities = (site["fn"], sample_sites(model)[name]["fn"])
    return all(len(_unwrap(p).event_shape) == 0 for p in densities)


def _unwrap(p: Distribution) -> Distribution:
    """A distribution without `Independent`."""
    while isinstance(p, Independent):
        p = p.base_dist
    return p


def _find_mean(site: dict, draws: int) -> Tensor:
    """E_q[z | x] given the draws of the other latents, or the draws themselves, `[draws, n, d]`."""
    value = site["value"]
    return find_mean(site).expand_as(value).reshape(draws, value.shape[1], -1)


def _decode(pair: nn.Module, block: tuple, z: dict[str, Tensor], num_samples: int) -> Tensor:
    """log p(x | z) of draws of z, `[k, n]`, in pieces."""
    size = count_fitting(block[0].shape[0] * count_numbers(block[0]))
    pieces = []
    for start in range(0, num_samples, size):
        values = {name: value[start : start + size] for name, value in z.items()}
        k = min(size, num_samples - start)
        pieces.append(weigh(pair, block, k, values).log_likelihood.double())
    return torch.cat(pieces)
