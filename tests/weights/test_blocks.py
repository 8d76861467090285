"""Blocks of data and draws: the same weights as in one piece."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.weights import blocks
from pyro_vae.weights.blocks import (
    Functions,
    count_fitting,
    cut,
    draw_latents,
    even_out,
    weigh_in_blocks,
)
from pyro_vae.weights.traces import quietly
from pyro_vae.weights.weights import Weights, join_weights, score_joint, weigh

DRAWS = 5
LARGE = 2**20


@pytest.fixture
def pair():
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2),
        variational=pv.Normal(2, given=3),
    )


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((7, 3), 0.5))


def limit(monkeypatch, kept, decoded):
    monkeypatch.setattr(blocks, "KEPT", kept)
    monkeypatch.setattr(blocks, "DECODED", {"cpu": decoded})


def weigh_in_turn(pair, x, others=None):
    torch.manual_seed(1)
    return join(weigh_in_blocks(pair, (x,), DRAWS, others))


def weigh_parts(pair, parts):
    """The weights of parts of the data, each at so many draws, one after the other."""
    torch.manual_seed(1)
    with quietly(pair):
        return [weigh(pair, (x,), draws) for x, draws in parts]


def same(a, b):
    for ours, theirs in zip(a[:3], b[:3], strict=True):
        torch.testing.assert_close(ours, theirs)


def join(found):
    rows, weights = zip(*found, strict=True)
    terms = zip(*(w[:3] for w in weights), strict=True)
    return list(rows), Weights(*(torch.cat(term, 1) for term in terms))


def test_as_many_fit_as_there_is_room_for_and_at_least_one(monkeypatch):
    monkeypatch.setattr(blocks, "KEPT", 12)
    assert [count_fitting(each) for each in (0, 1, 5, 12, 13)] == [12, 12, 2, 1, 1]
    assert count_fitting(5, limit=20) == 4


def test_blocks_are_of_nearly_one_size():
    found = [even_out(n, fitting=4) for n in (1, 4, 5, 8, 9)]
    assert found == [1, 4, 3, 4, 3]


def test_data_are_cut_along_their_rows():
    data = torch.arange(10).reshape(5, 2), torch.arange(5)
    found = list(cut(data, 2))

    assert [rows for rows, _ in found] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    for i, whole in enumerate(data):
        assert torch.equal(torch.cat([block[i] for _, block in found]), whole)


def test_what_fits_is_weighed_in_one_piece(pair, x):
    rows, ours = weigh_in_turn(pair, x)
    (theirs,) = weigh_parts(pair, [(x, DRAWS)])

    assert rows == [slice(0, 7)]
    assert all(torch.equal(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True))


def test_draws_are_decoded_in_pieces(pair, x, monkeypatch):
    """21 numbers are one draw of x for all rows, so that 44 are two."""
    limit(monkeypatch, LARGE, 44)
    rows, ours = weigh_in_turn(pair, x)

    assert rows == [slice(0, 7)]
    same(ours, *weigh_parts(pair, [(x, DRAWS)]))


def test_data_are_weighed_block_after_block(pair, x, monkeypatch):
    """Five draws of two numbers are ten for each row, so that 30 are those of three rows."""
    limit(monkeypatch, 30, LARGE)
    rows, ours = weigh_in_turn(pair, x)
    parts = weigh_parts(pair, [(part, DRAWS) for part in x.split(3)])

    assert rows == [slice(0, 3), slice(3, 6), slice(6, 7)]
    same(ours, [torch.cat(terms, 1) for terms in zip(*(part[:3] for part in parts), strict=True)])


def test_draws_that_are_too_many_are_drawn_in_turn(pair, x, monkeypatch):
    """Four numbers are kept: two draws of z for one row."""
    limit(monkeypatch, 4, LARGE)
    x = x[:1]
    _, ours = weigh_in_turn(pair, x)
    parts = weigh_parts(pair, [(x, 2), (x, 2), (x, 1)])

    same(ours, [torch.cat(terms) for terms in zip(*(part[:3] for part in parts), strict=True)])


def test_other_functions_draw_and_score_what_has_its_full_size(pair, x, monkeypatch):
    limit(monkeypatch, LARGE, 44)
    drawn, sizes = [], []

    def draw(pair, data, k):
        drawn.append(k)
        return *draw_latents(pair, data, k)[:2], None

    def joint(pair, data, draws, latents):
        sizes.append(draws)
        return score_joint(pair, data, draws, latents)

    _, ours = weigh_in_turn(pair, x, Functions(draw, joint))
    same(ours, *weigh_parts(pair, [(x, DRAWS)]))
    assert (drawn, sizes) == ([DRAWS], [2, 2]), "the last piece is smaller"


def test_what_cannot_be_weighed_is_refused_with_other_functions_too(x):
    model = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2),
        variational=pv.Normal(2, given=3),
    ).model
    with pytest.raises(ValueError, match="the guide lacks the latent"):
        join(weigh_in_blocks(pv.Pair(model, lambda x: None), (x,), DRAWS, Functions()))


def test_no_gradients_are_kept_and_training_mode_is_put_back(pair, x):
    ((_, weights),) = weigh_in_blocks(pair, (x,), DRAWS)
    assert not weights.log_weight.requires_grad
    assert pair.training


@pytest.mark.parametrize("kept", [4, LARGE])
def test_the_terms_of_sites_are_those_of_one_piece(pair, x, monkeypatch, kept):
    limit(monkeypatch, kept, 44)
    x = x[:1] if kept == 4 else x
    torch.manual_seed(1)
    ((_, ours),) = weigh_in_blocks(pair, (x,), DRAWS, per_site=True)

    torch.manual_seed(1)
    with quietly(pair):
        parts = [weigh(pair, (x,), k, per_site=True) for k in ([2, 2, 1] if kept == 4 else [5])]
    theirs = join_weights(parts, 0)
    assert list(ours.latent) == ["z"] and list(ours.observed) == ["x"]
    torch.testing.assert_close(ours.latent["z"], theirs.latent["z"])
    torch.testing.assert_close(ours.observed["x"], theirs.observed["x"])
    torch.testing.assert_close(ours.observed["x"] - ours.latent["z"], ours.elbo)
