"""Plain arguments: what is admitted, as what, and what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.arguments import (
    as_tensor,
    check_choice,
    check_flag,
    check_interval,
    check_pair,
    check_positive,
    check_seed,
    check_sizes,
    check_whole,
    check_within,
)
from tests.runs import make


@pytest.mark.parametrize("value", [3, np.int64(3), np.int32(3), np.uint8(3)], ids=repr)
def test_whole_numbers_become_ints(value):
    number = check_whole("epochs", value)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize("value", [True, np.True_, 2.0, np.float64(2.0), "2", None], ids=repr)
def test_what_is_no_whole_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="epochs: expected a positive whole number, got "):
        check_whole("epochs", value)


@pytest.mark.parametrize("value", [0, -1, np.int64(0)], ids=repr)
def test_a_whole_number_is_positive_where_nothing_else_is_said(value):
    with pytest.raises(ValueError, match="epochs: expected a positive whole number, got "):
        check_whole("epochs", value)


def test_a_whole_number_reaches_its_least():
    assert check_whole("warm_up", 0, least=0) == 0
    with pytest.raises(ValueError, match="expected a whole number of at least 0, got -1"):
        check_whole("warm_up", -1, least=0)
    with pytest.raises(TypeError, match=r"expected a whole number of at least 2, got 2\.0"):
        check_whole("warm_up", 2.0, least=2)


def test_a_whole_number_is_one_that_torch_can_count_to():
    with pytest.raises(ValueError, match=r"draws: expected a whole number of at most 9\d+, got 1"):
        check_whole("draws", 10**30)


@pytest.mark.parametrize("value", [0, np.int64(3), 2**64 - 2], ids=repr)
def test_seeds_are_those_of_torch(value):
    assert torch.Generator().manual_seed(check_seed("seed", value) + 1)


@pytest.mark.parametrize("value", [-1, 2**64 - 1], ids=repr)
def test_a_seed_out_of_range(value):
    with pytest.raises(ValueError, match="seed: expected a whole number of at "):
        check_seed("seed", value)


def test_flags_are_no_numbers():
    assert check_flag("compile", np.True_) is True
    with pytest.raises(TypeError, match="compile: expected True or False, got 1"):
        check_flag("compile", 1)


def test_a_pair_is_an_object_with_both_methods():
    check_pair(make())
    for wrong, said in ((5, "5"), (pv.VAE, "the class VAE"), (nn.Linear(3, 2), "Linear")):
        with pytest.raises(TypeError, match=f"pair: expected a module with .* got {said}"):
            check_pair(wrong)


def test_sizes_are_a_sequence():
    assert check_sizes("hidden", [3, np.int64(2)]) == (3, 2)
    with pytest.raises(TypeError, match=r"hidden: expected a tuple of .* got 5"):
        check_sizes("hidden", 5)


@pytest.mark.parametrize(
    ("values", "error"), [(5, TypeError), (("a", 1), TypeError), ((1, 0), ValueError)]
)
def test_what_is_no_interval(values, error):
    with pytest.raises(error, match=r"within: expected two finite numbers \(low, high\)"):
        check_interval("within", values)


def test_an_array_is_no_choice():
    with pytest.raises(ValueError, match="per: expected 'a' or 'b', got ndarray of shape"):
        check_choice("per", np.zeros(3), ("a", "b"))


@pytest.mark.parametrize("values", [[1.0, 2.0], (1.0, 2.0), np.array([1.0, 2.0])], ids=repr)
def test_arrays_and_lists_become_tensors(values):
    assert as_tensor("at", values).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("values", ["ab", None, 5, [object()], ["a"], [[1], [1, 2]]])
def test_what_is_no_tensor(values):
    with pytest.raises(TypeError, match="at: expected a tensor, got "):
        as_tensor("at", values)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int64(2)], ids=repr)
def test_positive_numbers_become_floats(value):
    number = check_positive("rate", value)
    assert number == value
    assert type(number) is float


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (0.0, ValueError),
        (-1.0, ValueError),
        (math.inf, ValueError),
        (math.nan, ValueError),
        (True, TypeError),
        ("1", TypeError),
        (None, TypeError),
    ],
    ids=repr,
)
def test_what_is_not_positive_is_refused(value, error):
    with pytest.raises(error, match="rate: expected a positive number, got "):
        check_positive("rate", value)


@pytest.mark.parametrize("value", [0, 0.0, 1, 0.25, np.float64(1.0)], ids=repr)
def test_a_number_may_reach_its_limits(value):
    number = check_within("beta", value, 0.0, 1.0)
    assert number == value
    assert type(number) is float


@pytest.mark.parametrize(
    ("value", "limits", "error", "words"),
    [
        (1.5, (0.0, 1.0), ValueError, r"a finite number within \[0, 1\], got 1\.5"),
        (-0.1, (0.0, 1.0), ValueError, r"a finite number within \[0, 1\], got -0\.1"),
        (-1, (0.0,), ValueError, "a finite number of at least 0, got -1"),
        (math.inf, (0.0,), ValueError, "a finite number of at least 0, got inf"),
        (math.nan, (), ValueError, "a finite number, got nan"),
        (-math.inf, (), ValueError, "a finite number, got -inf"),
        (False, (0.0, 1.0), TypeError, r"a finite number within \[0, 1\], got False"),
        ("a", (), TypeError, "a finite number, got 'a'"),
    ],
)
def test_a_number_beyond_its_limits_is_refused(value, limits, error, words):
    with pytest.raises(error, match=f"beta: expected {words}"):
        check_within("beta", value, *limits)


def test_a_choice_is_one_of_a_list():
    check_choice("per", "site", ("dimension", "site"))
    check_choice("per", "site", iter(["dimension", "site"]))


@pytest.mark.parametrize(
    ("choices", "listed"),
    [(("a",), "'a'"), (("a", "b"), "'a' or 'b'"), (("a", "b", "c"), "'a', 'b' or 'c'")],
)
def test_another_choice_is_refused_with_the_list(choices, listed):
    with pytest.raises(ValueError, match=f"^per: expected {listed}, got 'x'$"):
        check_choice("per", "x", choices)
