"""Shapes of variables and of parameters."""

import pytest

from pyro_vae.conditionals.shapes import (
    as_shape,
    as_vector,
    call_shape,
    drop_last,
    find_sizes,
    square,
)


def test_a_whole_number_is_a_vector():
    assert as_shape("event_shape", 3) == (3,)
    assert as_shape("event_shape", [2, 3]) == (2, 3)
    assert as_shape("event_shape", ()) == ()


@pytest.mark.parametrize("value", [0, -1, (2, 0)], ids=repr)
def test_sizes_are_positive(value):
    with pytest.raises(ValueError, match="given: expected a positive whole number, got"):
        as_shape("given", value)


@pytest.mark.parametrize("value", [2.0, (2, 0.5), "3", None, True], ids=repr)
def test_what_is_no_shape_is_a_type_error(value):
    with pytest.raises(TypeError, match="given: expected a positive whole number, got"):
        as_shape("given", value)


def test_shapes_of_vectors():
    assert as_vector((2, 3)) == (2, 3)
    assert square((2, 3)) == (2, 3, 3)
    assert drop_last((2, 3)) == (2,)


@pytest.mark.parametrize("shape", [as_vector, square, drop_last], ids=lambda f: f.__name__)
def test_a_single_number_is_no_vector(shape):
    with pytest.raises(ValueError, match=r"event_shape \(\) has too few dimensions"):
        shape(())


def test_sizes_are_the_further_arguments_of_shapes():
    shapes = {
        "loc": None,
        "logits": lambda event, classes: (*event, classes),
        "scale": lambda event, classes, rank=2: (*event, classes, rank),
    }
    sizes = {"classes": 5, "rank": 2}

    assert find_sizes(shapes) == {"classes": None, "rank": 2}
    assert call_shape(shapes["loc"], (3,), sizes) == (3,)
    assert call_shape(shapes["logits"], (3,), sizes) == (3, 5)
    assert call_shape(shapes["scale"], (3,), sizes) == (3, 5, 2)
