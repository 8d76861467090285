"""Whether the parts of a pair fit together, and how they are printed."""

import pytest
from torch import nn

import pyro_vae as pv
from pyro_vae.pairs.parts import (
    check_parts,
    check_several,
    compare_shapes,
    compare_supports,
    find_event,
    find_given,
    write_story,
)


def test_a_part_is_a_module_and_no_class():
    check_parts("vae", prior=pv.StandardNormal(2))
    said = r"prior: expected a module, .* got the class StandardNormal \(make one"
    with pytest.raises(TypeError, match=said):
        check_parts("vae", prior=pv.StandardNormal)
    with pytest.raises(TypeError, match="name: expected a string, got 5"):
        check_parts(5)


@pytest.mark.parametrize(
    ("parts", "kind"), [([nn.Identity, 5], list), ({"a": None}, dict), (5, list)]
)
def test_several_parts_are_modules(parts, kind):
    with pytest.raises(TypeError, match="experts: expected modules, got "):
        check_several("experts", parts, kind, "modules")


def test_a_part_says_its_shapes_or_nothing():
    part = pv.Normal((2, 3), given=[4, (5, 6)])
    assert find_event(part) == (2, 3)
    assert find_given(part) == (4,)
    assert find_given(part, 1) == (5, 6)
    assert find_given(part, 2) == find_given(pv.Normal(2)) == ()
    assert find_event(nn.Linear(2, 3)) is None
    assert find_given(nn.Linear(2, 3)) is None


def test_shapes_that_are_known_are_compared():
    compare_shapes("z", {"prior": (2,), "likelihood": None, "variational": (2,)})
    compare_shapes("z", {"prior": None, "variational": (2,)})
    compare_shapes("z", {})
    with pytest.raises(
        ValueError, match=r"shape of z: prior \(2,\), variational \(3,\)\. They must all be equal"
    ):
        compare_shapes("z", {"prior": (2,), "likelihood": None, "variational": (3,)})


@pytest.mark.parametrize(
    ("prior", "variational"),
    [
        (pv.StandardNormal(2), pv.Normal(2, given=3)),
        (pv.StandardNormal(2), pv.Laplace(2, given=3)),
        (nn.Identity(), pv.Gamma(2, given=3)),
        (pv.Gamma(2), nn.Identity()),
    ],
)
def test_supports_that_are_one_set(prior, variational):
    compare_supports("z", prior, variational)


@pytest.mark.parametrize(
    ("prior", "variational"),
    [
        (pv.StandardNormal(2), pv.Gamma(2, given=3)),
        (pv.OneHotCategorical(2), pv.Dirichlet(2, given=3)),
    ],
)
def test_supports_that_are_two_sets(prior, variational):
    with pytest.raises(ValueError, match=r"supports of z differ: prior .* is over .*variational"):
        compare_supports("z", prior, variational)


def test_a_story_has_a_line_for_each_part():
    story = write_story("Pair", {"p(z)": "first", "p(x|z,c)": 2})
    assert story == "Pair(\n  p(z)     = first\n  p(x|z,c) = 2\n)"
