"""What the site's settings make of the pages and of the package. `.ci/run` builds the site."""

import importlib.util
from pathlib import Path

import pytest

import pyro_vae as pv

pytest.importorskip("sphinx")
DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def conf():
    spec = importlib.util.spec_from_file_location("conf", DOCS / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_documented(thing):
    return callable(thing) and getattr(thing, "__module__", "").startswith("pyro_vae.")


def test_each_public_name_is_on_one_page(conf):
    pages = [path.stem for path in (DOCS / "api").glob("*.md")]
    listed = [thing for page in pages for thing in conf.find_public(page).values()]
    public = {
        thing
        for package in (pv, pv.data, pv.diagnostics, pv.networks)
        for name, thing in vars(package).items()
        if not name.startswith("_") and is_documented(thing)
    }
    assert len(listed) == len(set(listed)) and set(listed) >= public


def test_a_page_documents_classes_with_their_members_and_functions(conf):
    page = conf.document("training")
    assert ".. autofunction:: pyro_vae.fit" in page
    assert ".. autoclass:: pyro_vae.History\n   :members:" in page


def test_equations_of_the_repository_are_those_of_sphinx(conf):
    content = ["$`a_1 \\le b`$\n\n```math\nc\n```\n"]
    conf.read(None, "docs/page", content)
    assert content == ["{math}`a_1 \\le b`\n\n```{math}\nc\n```\n"]


def test_an_equation_is_mathml_or_a_warning(conf, caplog):
    from docutils.nodes import SkipNode, math_block

    class Translator:
        body: list = []  # noqa: RUF012

    for text in (r"\log p(x) &= a \\ &= b", r"\nothing"):
        with pytest.raises(SkipNode):
            conf.write_block(Translator, math_block(text, text))
    assert len(Translator.body) == 1 and Translator.body[0].startswith("<math")
    assert r"\nothing" in caplog.text
