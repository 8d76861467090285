"""docs/parts.md is what the classes and their docstrings say."""

import importlib.util
import inspect
from pathlib import Path

import pytest

import pyro_vae as pv

ROOT = Path(__file__).parent.parent
KINDS = (pv.Conditional, pv.Bound, pv.Objective)
ABSTRACT = {pv.Conditional, pv.Family, pv.Bound}
CLASSES = {name: part for name, part in vars(pv).items() if inspect.isclass(part)}
PARTS = {
    name: part for name, part in CLASSES.items() if issubclass(part, KINDS) and part not in ABSTRACT
}


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_parts", ROOT / "docs" / "build_parts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_says(builder):
    said = "docs/parts.md is out of date: run python docs/build_parts.py"
    assert builder.PAGE.read_text(encoding="utf-8") == builder.page(), said


@pytest.mark.parametrize("name", PARTS)
def test_every_part_says_what_it_is_and_when_to_use_it(builder, name):
    part = PARTS[name]
    assert builder.uses(part) and set(builder.uses(part)) <= set(builder.ROLES)
    assert all(use.endswith(".") for use in builder.uses(part).values())
    assert builder.formula(part) and builder.source(part)


def test_a_row_has_its_six_cells(builder):
    for line in builder.page().splitlines():
        assert not line.startswith("|") or line.count("|") == 7, line


def test_roles_and_supports_come_from_the_classes(builder):
    assert builder.support(pv.Gamma) == "above 0" and builder.support(pv.UniformSphere) == "sphere"
    assert builder.bound(pv.MMD) == "none" and builder.bound(pv.VIMCO) == "lower"
    assert (
        builder.parameters(pv.Categorical) == ["classes", "logits"]
        and builder.parameters(pv.StandardNormal) == []
    )
    assert builder.source(pv.Vamp) == "Tomczak & Welling, 2018"


def test_a_row_made_by_family_keeps_its_doc():
    made = pv.family(
        pv.Normal.distribution, "loc", name="Unit", doc="Of unit scale.\n\nUse:\n    prior: never."
    )
    assert (
        "see `family`.\n\n    Of unit scale.\n\n    Use:\n        prior: never.\n\n    Arguments:"
        in made.__doc__
    )
