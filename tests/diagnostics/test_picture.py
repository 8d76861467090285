import json
import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import picture
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.look import plots
from pyro_vae.look.report import report
from tests.oracles import linear_gaussian, within


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


@pytest.mark.parametrize("shift, stretch", [(0.3, 1.0), (0.0, 1.5), (0.1, 0.95)])
def test_with_a_wrong_variational_the_gap_is_the_closed_form(shift, stretch):
    world = linear_gaussian()
    x = world.sample(40)
    pair = world.pair(shift, stretch)
    truth = world.log_evidence(x)
    mean = (x - world.b) @ world.to_mean.T + shift
    gap = world.gap(x, mean, stretch**2 * world.covariance)

    seen = picture(pair, x, num_samples=4000)
    assert within(seen.evidence.value, truth, seen.evidence.stderr)
    assert within(seen.gap.value, gap, seen.gap.stderr)
    assert (seen.gap.value >= 0).all()
    assert (seen.evidence.value - seen.elbo.value - seen.gap.value).abs().max() < 1e-9


def test_with_the_posterior_the_picture_has_no_gap_and_no_error():
    world = linear_gaussian()
    seen = picture(world.pair(), world.sample(10), num_samples=100)
    assert seen.gap.value.abs().max() < 1e-9
    assert seen.evidence.stderr.max() < 1e-6
    assert (seen.evidence.ess - 100).abs().max() < 1e-6
    assert all(
        "log N" in warning for warning in seen.warnings()
    )  # ten data tell no more than log 10 nats


@pytest.mark.parametrize(
    "fault, said",
    [({"shift": 3.0}, "effective samples"), ({"stretch": 0.4}, "q(z|x) is too narrow")],
)
def test_planted_faults_are_reported(fault, said):
    world = linear_gaussian()
    seen = picture(world.pair(**fault), world.sample(20), num_samples=1000)
    assert any(said in warning for warning in seen.warnings())
    assert "What to trust less, " in str(seen)


class _Constant(torch.nn.Module):
    def __init__(self, out, value=0.0):
        super().__init__()
        self.value = torch.nn.Parameter(torch.full(out, value))

    def forward(self, x):
        return self.value.expand(len(x), *self.value.shape)


def test_a_collapsed_latent_shows_as_no_information():
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2, net=lambda given, out: _Constant(out)),
        variational=pv.Normal(
            2, given=3, loc=0.0, net=lambda given, out: _Constant(out, math.log(math.e - 1))
        ),
    )
    seen = picture(vae, torch.bernoulli(torch.full((20, 3), 0.5)), num_samples=100)
    assert seen.elbo.kl.value.abs().max() < 1e-6
    assert (seen.evidence.value + 3 * math.log(2)).abs().max() < 1e-5


def test_the_picture_prints_and_serialises(trained):
    vae, x = trained
    seen = picture(vae, x[:20], num_samples=200)
    text = str(seen)
    assert "log p(x)" in text and "KL(q(z|x) ‖ p(z|x))" in text and "±" in text
    notes = seen.as_dict()
    assert notes["data"] == 20 and set(notes["terms"]) == set(seen.rows())


def test_a_picture_of_one_datum_prints_and_is_json(trained):
    vae, x = trained
    seen = picture(vae, x[:1], num_samples=50)
    assert "means over 1 data" in str(seen)
    notes = json.loads(json.dumps(seen.as_dict(), allow_nan=False))
    assert (
        notes["terms"]["ELBO"]["stderr_over_data"] is None and notes["terms"]["ELBO"]["stderr"] > 0
    )


def test_the_gap_against_annealing_has_the_errors_of_both(whole):
    found = whole[0]
    assert type(found.gap) is Estimate and found.log_evidence is found.annealed
    error = (found.annealed.stderr.square() + found.elbo.stderr.square()).sqrt()
    assert torch.equal(found.gap.value, found.annealed.value - found.elbo.value)
    assert torch.equal(found.gap.stderr, error)


@pytest.mark.parametrize("name", ["num_steps", "refit_steps", "simulations"])
def test_counts_are_whole_numbers(name):
    world = linear_gaussian()
    with pytest.raises(ValueError, match=f"{name}: expected a whole number of at least 0, got -1"):
        picture(world.pair(), world.sample(3), **{name: -1})
    with pytest.raises(TypeError, match=name):
        picture(world.pair(), world.sample(3), **{name: 2.5})


def test_levels_have_rows_and_counts_of_their_own():
    pair = pv.HierarchicalVAE(
        priors=[pv.StandardNormal(2), pv.Normal(3, given=2)],
        likelihood=pv.Bernoulli(4, given=3),
        variationals=[pv.Normal(3, given=4), pv.Normal(2, given=3)],
    )
    seen = picture(pair, torch.bernoulli(torch.full((9, 4), 0.5)), num_samples=50)
    rows = seen.rows()
    parts = rows["log q/p of z1"][0] + rows["log q/p of z2"][0]

    assert abs(parts - rows["KL(q(z|x) ‖ p(z))"][0]) < 1e-9
    assert (seen.evidence.value - seen.elbo.value - seen.gap.value).abs().max() < 1e-9
    assert "of 5 dimensions of z are active: z1 " in str(seen)


def test_the_picture_has_the_draws_of_the_elbo_alone():
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    x = torch.ones(5, 3)
    torch.manual_seed(0)
    alone = pv.diagnostics.elbo(vae, x, num_samples=7, progress=False)
    torch.manual_seed(0)
    seen = pv.diagnostics.picture(vae, x, num_samples=7, progress=False)
    assert torch.equal(alone.value, seen.elbo.value)


def test_what_is_of_most_data_is_said_first():
    world = linear_gaussian()
    seen = picture(world.pair(stretch=0.6), world.sample(200), num_samples=500, simulations=500)
    said = seen.warnings()
    shares = [float(text.split(" %")[0].split()[-1]) for text in said if " % of" in text]
    assert said[0].startswith("on simulated data") and shares == sorted(shares, reverse=True)
    assert str(seen).endswith("\n- ".join(["", *said]).lstrip("\n"))
    assert f"What to trust less, {len(said)} notes:" in str(seen)
