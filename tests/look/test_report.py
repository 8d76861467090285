import pytest
import torch
from matplotlib.figure import Figure

import pyro_vae as pv
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.look.findings import Finding
from pyro_vae.look.report import report


@pytest.fixture(scope="module")
def picture():
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    return pv.diagnostics.picture(vae, torch.ones(5, 3), num_samples=50)


def test_the_page_has_every_row_and_no_number_that_is_not_there(picture):
    page = report(picture, {})
    for row in picture.table():
        assert f"<td>{row.label}</td><td>{row.mean:.4f}</td><td>{row.stderr:.4f}</td>" in page
    assert "nan" not in page and "Means over 5 data" in page


def test_the_page_holds_its_figures_and_escapes_what_is_written(picture):
    page = report(picture, {"a < b": Figure()}, title="<one>", note="a & b", about="p(x|z) > 0")

    assert page.count("data:image/png;base64,") == 1 and "a &lt; b" in page
    assert "&lt;one&gt;" in page and "a &amp; b" in page and "p(x|z) &gt; 0" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_warnings_are_on_the_page(picture, monkeypatch):
    monkeypatch.setattr(type(picture), "warnings", lambda self: ["q is < p"])
    page = report(picture, {}, verdict="p > q")
    assert "<h2>What to trust less</h2>\n<ul>\n<li>q is &lt; p</li>" in page
    assert page.index("p &gt; q") < page.index("The Bayesian picture") < page.index("q is &lt; p")


def test_findings_have_a_table_of_their_own(picture):
    findings = {"The <label>": [Finding("accuracy", Estimate(0.5, 0.25), "a & b")]}
    page = report(picture, {}, findings=findings)
    assert "<h2>The &lt;label&gt;</h2>" in page
    assert "<td>accuracy</td><td>0.5000</td><td>0.2500</td><td>a &amp; b</td>" in page
