"""Plain arguments: what is admitted, as what, and what is refused."""

import math

import numpy as np
import pytest

from pyro_vae.arguments import check_choice, check_positive, check_whole, check_within


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
