"""Sets of values: compared by structure, and described for people."""

import itertools
import math

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints as pyro_constraints
from torch.distributions import constraints

from pyro_vae import distributions as ours
from pyro_vae.supports import (
    CountOfTotal,
    OrMissing,
    describe,
    elementwise,
    is_real,
    is_same_support,
)


def columns(*cells, lengths):
    return constraints.independent(constraints.cat(cells, -1, lengths), 1)


REAL, BOOLEAN = constraints.real, constraints.boolean
# every member of a row is the same set, and the rows are different sets
SETS = {
    "real": [REAL, type(REAL)()],
    "real vector": [constraints.real_vector, constraints.independent(REAL, 1)],
    "real matrix": [constraints.independent(constraints.real_vector, 1)],
    "positive": [constraints.positive, constraints.nonnegative, constraints.greater_than(0.0)],
    "above one": [constraints.greater_than(1), constraints.greater_than(torch.ones(3))],
    "unit": [constraints.unit_interval, constraints.interval(0.0, 1.0)],
    "angle": [constraints.interval(-math.pi, math.pi), ours.VonMises.support],
    "boolean": [BOOLEAN],
    "two classes": [constraints.integer_interval(0, 1)],
    "three classes": [
        constraints.integer_interval(0, 2),
        constraints.integer_interval(torch.zeros(2), torch.tensor([1.0, 2.0])),
        constraints.integer_interval(torch.tensor(0), torch.tensor([2, 2, 2])),
    ],
    "count": [constraints.nonnegative_integer, dist.Poisson.support],
    "positive count": [constraints.positive_integer],
    "count of a total": [CountOfTotal(0)],
    "counts of a total": [ours.Multinomial.support, ours.DirichletMultinomial.support],
    "simplex": [constraints.simplex, dist.Dirichlet.support],
    "one-hot": [constraints.one_hot, dist.OneHotCategorical.support],
    "sphere": [pyro_constraints.sphere, ours.PowerSpherical.support],
    "factor": [constraints.lower_cholesky],
    "real or missing": [OrMissing(REAL), OrMissing(type(REAL)())],
    "positive or missing": [OrMissing(constraints.positive)],
    "columns": [
        columns(REAL, BOOLEAN, lengths=[2, 1]),
        columns(REAL, REAL, BOOLEAN, lengths=[1, 1, 1]),
    ],
    "as many columns": [columns(REAL, BOOLEAN, lengths=[1, 2])],
    "columns turned around": [columns(BOOLEAN, REAL, lengths=[1, 2])],
}


@pytest.mark.parametrize("name", SETS)
def test_the_same_set_is_the_same(name):
    for a, b in itertools.product(SETS[name], repeat=2):
        assert is_same_support(a, b), (a, b)


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(SETS, 2)])
def test_different_sets_are_different(one, other):
    for a, b in itertools.product(SETS[one], SETS[other]):
        assert not is_same_support(a, b) and not is_same_support(b, a), (a, b)


def test_the_words_decide_nothing(monkeypatch):
    monkeypatch.setattr("pyro_vae.supports.describe", lambda support: "a set")
    assert not is_same_support(constraints.real, constraints.positive)
    assert not is_real(constraints.positive) and is_real(constraints.real)


@pytest.mark.parametrize("name", SETS)
def test_only_the_reals_are_real(name):
    expected = name in ("real", "real vector", "real matrix")
    assert [is_real(a) for a in SETS[name]] == [expected] * len(SETS[name])


def test_a_support_by_each_number():
    matrix = constraints.independent(constraints.real_vector, 1)
    assert elementwise(matrix) is constraints.real
    assert elementwise(constraints.simplex) is constraints.simplex


def test_missing_values_are_values_of_no_other_support():
    x = torch.tensor([-1.0, torch.nan, 1.0])
    assert OrMissing(constraints.positive).check(x).tolist() == [False, True, True]
    assert OrMissing(constraints.simplex).event_dim == 1
    assert OrMissing(constraints.boolean).is_discrete


WORDS = {
    "real": constraints.real_vector,
    "0 or 1": constraints.boolean,
    "integer from 0 to 2": constraints.integer_interval(0, torch.tensor([1, 2])),
    "a count": constraints.nonnegative_integer,
    "a count out of a total": ours.Multinomial.support,
    "in [0, 1]": constraints.unit_interval,
    "above 0": constraints.positive,
    "simplex": constraints.simplex,
    "sphere": pyro_constraints.sphere,
    "above 0 or missing": OrMissing(constraints.positive),
    "columns real, 0 or 1": columns(REAL, BOOLEAN, REAL, lengths=[1, 1, 1]),
}


@pytest.mark.parametrize("words", WORDS)
def test_a_support_in_words(words):
    assert describe(WORDS[words]) == words
