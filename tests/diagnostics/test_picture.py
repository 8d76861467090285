import json

import pytest
import torch
from oracles import linear_gaussian

from pyro_vae.diagnostics import picture
from pyro_vae.look import plots
from pyro_vae.look.report import report


@pytest.fixture(scope="module")
def whole():
    """The whole picture of a world with a shifted, narrow q, and what it should show."""
    torch.manual_seed(0)
    world = linear_gaussian()
    x = world.sample(30)
    pair = world.pair(shift=0.25, stretch=0.6)
    found = picture(
        pair, x, num_samples=1000, num_steps=30, num_chains=100, refit_steps=150, simulations=2000
    )
    mean = (x - world.b) @ world.to_mean.T + 0.25
    return found, world.log_evidence(x), world.gap(x, mean, 0.36 * world.covariance)


def test_the_terms_add_up_and_are_those_of_the_closed_form(whole):
    found, log_p, gap = whole
    rows = found.rows()
    for name, truth in (("log p(x)", log_p), ("KL(q(z|x) ‖ p(z|x))", gap), ("amortisation", gap)):
        mean, error, _ = rows[name]
        assert abs(mean - truth.mean()) < 5 * error + 0.01, name
    mean, error, _ = rows["approximation"]
    assert abs(mean) < 5 * error + 0.01  # the family is that of the posterior
    parts = rows["approximation"][0] + rows["amortisation"][0]
    assert abs(parts - rows["KL(q(z|x) ‖ p(z|x))"][0]) < 0.05
    parts = rows["I_q(x; z)"][0] + rows["KL(q(z) ‖ p(z))"][0]
    assert abs(parts - rows["KL(q(z|x) ‖ p(z))"][0]) < 5 * (
        rows["KL(q(z) ‖ p(z))"][1] + rows["I_q(x; z)"][1]
    )


def test_planted_faults_are_named(whole):
    said = " ".join(whole[0].warnings())
    assert "biased: q lies too high" in said and "over-confident" in said


def test_it_prints_a_sentence_a_row_and_serialises(whole):
    found = whole[0]
    text = str(found)
    assert (
        "by annealing, 30 temperatures × 100 chains" in text
        and "Calibration on 2000 simulated data" in text
    )
    assert all(row.meaning for row in found.table() if row.label != "ELBO")
    notes = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (
        notes["log p(x) by"] == "annealed importance sampling"
        and not notes["calibration"]["passed"]
    )


def test_the_report_holds_all_of_it(whole):
    found = whole[0]
    page = report(found, {"ranks": plots.ranks(found.calibration)}, title="<one>", note="a & b")
    assert "&lt;one&gt;" in page and "a &amp; b" in page
    assert (
        page.count("<tr>") == 1 + len(found.table()) and page.count("data:image/png;base64,") == 1
    )
    assert all(warning.split(":")[0] in page for warning in found.warnings())
    assert 'src="http' not in page and "<script" not in page
