"""Blocks of data and draws, so that memory does not grow with either."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_vae.weights.listed import find_listed
from pyro_vae.weights.obstacles import refuse_obstacles
from pyro_vae.weights.traces import (
    latent_sites,
    latent_values,
    log_prob,
    quietly,
    sample_sites,
    split_sites,
    trace,
)
from pyro_vae.weights.weights import (
    Weights,
    add_terms,
    make_precise,
    map_terms,
    score_each,
    score_joint,
    sum_latent,
    weigh,
)

KEPT = 2**23  # numbers kept at a time: draws of z, weights
DECODED = {"cpu": 2**21, "cuda": 2**27}  # numbers of x decoded at a time: a cache full, or a GPU


def count_fitting(each: int, limit: int | None = None) -> int:
    """How many things of so many numbers each are kept at a time, at least one.

    Example:
        >>> count_fitting(3, limit=10)
        3
    """
    limit = KEPT if limit is None else limit
    return max(1, limit // max(1, each))


def even_out(n: int, fitting: int) -> int:
    """How many rows a block has, so that no more fit than do and the last one is not small.

    Example:
        >>> even_out(10, fitting=9), even_out(10, fitting=20)
        (5, 10)
    """
    count = math.ceil(n / fitting)
    return math.ceil(n / max(1, count))


def cut(data: tuple, rows: int) -> Iterator[tuple[slice, tuple[Tensor, ...]]]:
    """Data in blocks of so many rows: where each block lies, and the block.

    Example:
        >>> [(rows.start, rows.stop) for rows, _ in cut((torch.zeros(5, 3),), 2)]
        [(0, 2), (2, 4), (4, 5)]
    """
    n = data[0].shape[0]
    for start in range(0, n, rows):
        block = slice(start, min(start + rows, n))
        yield block, tuple(d[block] for d in data)


def count_numbers(x: Tensor) -> int:
    """How many numbers a datum has, at least one."""
    return max(1, x[0].numel())


def weigh_in_blocks(
    pair: nn.Module,
    data: tuple,
    draws: int,
    others: "Functions | None" = None,
    *,
    per_site: bool = False,
    tell: Callable[[int], object] | None = None,
) -> Iterator[tuple[slice, Weights]]:
    """Draw from q(z | x) and weigh the draws, one block of data after the other.

    It computes no gradients, and its memory grows neither with the data nor with the draws. z is
    drawn for a block at once, so that the encoder runs once, and is decoded in pieces.

    Arguments:
        pair: The pair.
        data: What its model and guide are called with, x first, `[n, *event]`.
        draws: How many draws of z for each datum, k.
        others: What draws and scores where blocks and pieces have their full size. It may be
            compiled.
        per_site: Keep the terms of each site as well, without `others`.
        tell: Called after each piece with how many draws it weighed.

    Returns:
        For each block its rows, and its `Weights` `[k, rows]`.
    """
    sizes = _Sizes(pair, data, draws, per_site)
    for block, part in cut(data, sizes.rows):
        yield block, _weigh_block(pair, part, draws, sizes, others, tell)


def draw_latents(
    pair: nn.Module, data: tuple, k: int
) -> tuple[dict[str, Tensor], Tensor, Trace | None]:
    """Draws of z by site, `[k, n or 1, *event]`, log q(z | x), `[k, n]`, and the guide's trace."""
    run = trace(pair.guide, data, draws=k)
    return latent_values(run), sum_latent(run, (k, data[0].shape[0]), data[0]), run


class Functions(NamedTuple):
    """What draws z and weighs it.

    Attributes:
        draw: Of a pair, data and k: the draws of z, and log q(z | x), as `draw_latents`.
        joint: Of a pair, data, k and z by site: log p(x | z) and log p(z), as `score_joint`.
    """

    draw: Callable = draw_latents
    joint: Callable = score_joint


class _Sizes:
    """How many rows and draws are taken at a time.

    Attributes:
        rows: Data in a block.
        drawn: Draws of z that are kept at a time.
        decoded: Draws of z that are decoded at a time.
        has_listed: Whether a latent takes all its values at each draw.
        per_site: Whether the terms of each site are kept.
    """

    def __init__(self, pair: nn.Module, data: tuple, draws: int, per_site: bool):
        n, device = data[0].shape[0], data[0].device
        kept, values, sites = _count_latent_numbers(pair, data)
        if per_site:
            kept = max(kept, sites)
        numbers = count_numbers(data[0]) * values
        limit = DECODED.get(device.type, DECODED["cpu"])

        fitting = min(KEPT // (kept * draws), limit // numbers)
        self.rows = max(1, min(n, fitting))
        self.drawn = count_fitting(kept)
        self.decoded = count_fitting(self.rows * numbers, limit)
        self.has_listed = values > 1
        self.per_site = per_site


def _count_latent_numbers(pair: nn.Module, data: tuple) -> tuple[int, int, int]:
    """How many numbers the largest latent has, how many values are listed, and how many latents.

    Random states are left alone.
    """
    devices = [data[0].device] if data[0].is_cuda else []
    few = tuple(d[:64] for d in data)
    with torch.random.fork_rng(devices=devices), quietly(pair):
        guide_trace = trace(pair.guide, few, draws=1, lists=True)

    sites = latent_sites(guide_trace)
    numbers = [site["fn"].event_shape.numel() for site in sites.values()]
    return max([1, *numbers]), math.prod(find_listed(sites).values()), len(sites)


def _weigh_block(
    pair: nn.Module,
    data: tuple,
    draws: int,
    sizes: _Sizes,
    others: Functions | None,
    tell: Callable[[int], object] | None,
) -> Weights:
    found: Weights | None = None
    for first in range(0, draws, sizes.drawn):
        k = min(sizes.drawn, draws - first)
        for start, piece in _weigh_pieces(pair, data, k, sizes, others):
            if found is None:
                shape = (draws, data[0].shape[0])
                found = map_terms(lambda term, shape=shape: term.new_empty(shape), piece)
            here = slice(first + start, first + start + piece.log_prior.shape[0])
            map_terms(lambda whole, term, here=here: whole[here].copy_(term), found, piece)
            if tell is not None:
                tell(piece.log_prior.numel())
    return found  # type: ignore[return-value]  # there is one draw at least


def _weigh_pieces(
    pair: nn.Module, data: tuple, k: int, sizes: _Sizes, others: Functions | None
) -> Iterator[tuple[int, Weights]]:
    """Draw z at once, and weigh the draws in pieces: where a piece starts, and its weights."""
    if sizes.has_listed:
        yield from _weigh_listed(pair, data, k, sizes)
        return
    if sizes.per_site:
        yield from _weigh_sites(pair, data, k, sizes)
        return

    is_whole = others is not None and data[0].shape[0] == sizes.rows
    use = others if others is not None and is_whole else Functions()
    with quietly(pair):
        if is_whole:
            _refuse_block(pair, data)
        z, log_variational, guide_trace = use.draw(pair, data, k)
    for start in range(0, k, sizes.decoded):
        size = min(sizes.decoded, k - start)
        here = slice(start, start + size)
        piece = {name: _take(value, here, k) for name, value in z.items()}
        with quietly(pair):
            if is_whole and size == sizes.decoded:
                log_likelihood, log_prior = use.joint(pair, data, size, piece)
            else:
                log_likelihood, log_prior = score_joint(pair, data, size, piece, guide_trace)
        yield start, Weights(log_likelihood, log_prior, log_variational[here])


def _refuse_block(pair: nn.Module, data: tuple) -> None:
    """Refuse what has no weight per datum, by the handlers. Random states are left alone."""
    with torch.random.fork_rng(devices=[data[0].device] if data[0].is_cuda else []):
        weigh(pair, data, 1)


def _weigh_listed(
    pair: nn.Module, data: tuple, k: int, sizes: _Sizes
) -> Iterator[tuple[int, Weights]]:
    """Draw z and weigh it in pieces, with all values of the listed latents at each draw."""
    for start in range(0, k, sizes.decoded):
        size = min(sizes.decoded, k - start)
        with quietly(pair):
            yield start, weigh(pair, data, size, per_site=sizes.per_site)


def _weigh_sites(
    pair: nn.Module, data: tuple, k: int, sizes: _Sizes
) -> Iterator[tuple[int, Weights]]:
    """Draw z at once, and weigh the draws in pieces, site by site."""
    n, score = data[0].shape[0], make_precise(log_prob)
    with quietly(pair):
        guide_trace = trace(pair.guide, data, draws=k)
        z = latent_values(guide_trace)
        log_q = score_each(latent_sites(guide_trace), (k, n), score)
    for start in range(0, k, sizes.decoded):
        shape = (min(sizes.decoded, k - start), n)
        here = slice(start, start + shape[0])
        piece = {name: _take(value, here, k) for name, value in z.items()}
        with quietly(pair):
            model_trace = trace(pair.model, data, draws=shape[0], latents=piece)
            refuse_obstacles(model_trace, guide_trace)
            observed, latent = split_sites(sample_sites(model_trace))
            log_p_x = score_each(observed, shape, score)
            log_p_z = score_each(latent, shape, score)
        part = {name: term[here] for name, term in log_q.items()}
        yield start, add_terms(log_p_x, log_p_z, part, shape, data[0], per_site=True)


def _take(value: Tensor, draws: slice, k: int) -> Tensor:
    """Some of the draws of a latent, unless it is the same for all draws."""
    return value[draws] if value.shape[0] == k else value
