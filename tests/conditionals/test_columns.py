"""A product of families over the columns of a table."""

from functools import partial

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.supports import describe
from pyro_vae.weights.intake import check_data

small = partial(pv.networks.mlp, hidden=(8,))

TABLE = {
    "age": pv.Normal,
    "sex": (pv.Categorical, {"classes": 2}),
    "visits": (pv.Poisson, 2),
    "rates": (pv.Normal, 3, {"scale": "free"}),
    "cells": (pv.Multinomial, 4, {"total_count": 5}),
}


@pytest.fixture(params=[None, 4, [4, (2, 3)]], ids=["free", "given", "given two"])
def columns(request):
    conditional = pv.Columns(TABLE, request.param, small)
    for w in conditional.parameters():
        nn.init.normal_(w, std=0.4)
    given = [torch.randn(6, *shape) for shape in conditional.given_shapes]
    return conditional, given


def test_log_p_is_the_sum_over_the_columns(columns):
    conditional, given = columns
    p = conditional(*given)
    x = p.sample((5,))
    lead = (6,) if given else ()
    parts = p.parts
    widths = [1, 1, 2, 3, 4]

    assert list(parts) == list(TABLE)
    assert (p.batch_shape, p.event_shape, x.shape) == (lead, (11,), (5, *lead, 11))
    assert p.support.check(x).all() and p.support.event_dim == 1
    truth = sum(q.log_prob(a) for q, a in zip(parts.values(), x.split(widths, -1)))
    torch.testing.assert_close(p.log_prob(x), truth)
    assert isinstance(parts["sex"].base_dist, dist.Categorical) and isinstance(
        parts["age"].base_dist, dist.Normal
    )
    assert (x[..., 1] < 2).all() and (x[..., 7:].sum(-1) == 5).all()


def test_each_column_has_its_own_numbers_of_the_one_network(columns):
    conditional, given = columns
    x = conditional(*given).sample()
    assert conditional.numbers == [2, 2, 2, 3, 4]
    if given:
        assert conditional.net.out_shape == (13,)
        assert conditional.raw is None
        raw = torch.randn(13, requires_grad=True)
        for i, (name, size) in enumerate(zip(TABLE, conditional.numbers)):
            chunk = raw.split(conditional.numbers)[i]
            log_p = conditional.layouts[i].at(chunk).log_prob(conditional(*given).split(x)[name][0])
            (gradient,) = torch.autograd.grad(log_p, raw)
            assert (gradient != 0).sum() <= size and (gradient != 0).any()
    (-conditional(*given).log_prob(x)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in conditional.parameters())


def test_saved_and_loaded_gives_the_same_numbers(columns, tmp_path):
    saved, given = columns
    loaded = pv.Columns(TABLE, saved.given_shapes or None, small)
    x = saved(*given).sample()
    pv.save_weights(saved, tmp_path / "weights.safetensors")
    pv.load_weights(loaded, tmp_path / "weights.safetensors")
    assert torch.equal(saved(*given).log_prob(x), loaded(*given).log_prob(x))


def test_any_leading_dimensions_broadcast():
    conditional = pv.Columns(TABLE, [4, (2, 3)], small)
    b, c = torch.randn(5, 1, 4), torch.randn(7, 2, 3)
    p = conditional(b, c)
    x = p.sample()
    torch.testing.assert_close(p.log_prob(x)[2, 3], conditional(b[2, 0], c[3]).log_prob(x[2, 3]))


def test_a_list_is_numbered_and_constants_are_spread_over_the_data():
    conditional = pv.Columns([(pv.Normal, 2), (pv.Normal, {"loc": 0.0, "scale": 1.0})], given=3)
    p = conditional(torch.randn(7, 3))
    assert repr(conditional) == "Columns((3,) | (3,), 0=2 Normal, 1=Normal(loc=0.0, scale=1.0))"
    assert p.batch_shape == (7,) and conditional.numbers == [4, 0]
    assert p.has_rsample and p.rsample().requires_grad


def vae(columns):
    likelihood = pv.Columns(columns, given=2, net=small)
    q = pv.Normal(2, given=likelihood.event_shape, net=small)
    return pv.VAE(prior=pv.StandardNormal(2), likelihood=likelihood, variational=q)


@pytest.mark.parametrize(
    "column, value, message",
    [
        (
            1,
            2.0,
            "column 'sex' of x lies outside the support of Categorical: .*"
            "not integer from 0 to 1.*classes=3",
        ),
        (
            2,
            0.5,
            "column 'visits' of x lies outside the support of Poisson: .*"
            "not a count; they run from 0.5 to 1",
        ),
        (
            3,
            -1.0,
            "column 'dose' of x lies outside the support of Gamma: .*"
            "not above 0; they run from -1 to 1",
        ),
        (
            4,
            3.0,
            "column 'trials' of x lies outside the support of Binomial: .*not integer from 0 to 2",
        ),
    ],
)
def test_a_value_outside_the_support_names_its_column(column, value, message):
    pair = vae(
        {
            "age": pv.Normal,
            "sex": (pv.Categorical, {"classes": 2}),
            "visits": pv.Poisson,
            "dose": pv.Gamma,
            "trials": (pv.Binomial, {"total_count": 2}),
        }
    )
    x = torch.ones(5000, 5)
    check_data(pair, (x,))
    x[4999, column] = value
    with pytest.raises(ValueError, match=message):
        check_data(pair, (x,))


def test_whole_numbers_are_no_values_of_a_continuous_column():
    with pytest.raises(
        TypeError, match=r"column 'b' of x is made of integers .*support of Normal is continuous"
    ):
        check_data(vae({"a": pv.Poisson, "b": pv.Normal}), (torch.ones(5, 2, dtype=torch.long),))
    check_data(vae({"a": pv.Poisson, "b": pv.Bernoulli}), (torch.ones(5, 2, dtype=torch.long),))


def test_the_support_in_words():
    p = pv.Columns({"a": (pv.Normal, 2), "b": pv.Bernoulli, "c": pv.Normal})()
    assert describe(p.support) == "columns real, 0 or 1"


MISUSES = {
    "a type that is none": (
        {"a": pv.Normal, "b": "ordinal"},
        TypeError,
        "column 'b': expected a family, .*got 'ordinal'",
    ),
    "no family": ({"a": torch.nn.Linear}, TypeError, "column 'a': expected a family"),
    "a distribution": ({"a": dist.Normal}, TypeError, "column 'a': expected a family"),
    "a flow": ({"a": pv.Flow}, TypeError, "column 'a': expected a family"),
    "more in the tuple": ({"a": (pv.Normal, 2, {}, 3)}, TypeError, "column 'a': expected a family"),
    "an unknown option": (
        {"a": (pv.Normal, {"sigma": 1.0})},
        TypeError,
        "column 'a': Normal has no parameter .*sigma",
    ),
    "no classes": ({"a": pv.Categorical}, TypeError, "column 'a': Categorical needs classes="),
    "no columns of it": (
        {"a": (pv.Normal, 0)},
        ValueError,
        "column 'a': event_shape: expected a positive",
    ),
    "none": ({}, ValueError, "columns: expected at least one, got none"),
}


@pytest.mark.parametrize("columns, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_names_the_column(columns, error, message):
    with pytest.raises(error, match=message):
        pv.Columns(columns, given=3)
