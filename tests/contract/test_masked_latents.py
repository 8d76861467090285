"""A latent that is masked where it does not exist: it must not bias, warm up or count there.

In each pair here p and q have the masked latent around other values than where it exists. So
whatever looks at them comes out wrong.
"""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.diagnostics import (
    annealed_log_evidence,
    bracket,
    calibrate,
    grid_posterior,
    inference_gaps,
    joint_kl,
    latents,
    log_evidence,
    log_weights,
    picture,
    posterior_gap,
)
from pyro_vae.look.calibration import ranks
from pyro_vae.weights.traces import unvalidated
from tests.compiling.pairs import exported, loss_and_gradients, same
from tests.oracles import partly_there, within

QUIET = {"progress": False}


# measured


def test_with_the_posterior_as_guide_every_weight_is_p():
    pair, data, truth = partly_there()
    found = log_weights(pair, *data, num_samples=20)
    torch.testing.assert_close(found, truth.expand(20, -1))


@pytest.mark.parametrize(
    "measure",
    [
        partial(log_evidence, num_samples=20_000),
        partial(annealed_log_evidence, num_steps=20, num_chains=50, num_leapfrog=4),
    ],
    ids=["importance sampling", "annealing"],
)
def test_log_p_is_the_closed_form(measure):
    pair, data, truth = partly_there(stretch=1.3)
    found = measure(pair, *data, **QUIET)
    assert within(found.value, truth, found.stderr)
    assert 0 < found.stderr.max() < 0.2


def test_the_gap_to_the_posterior_is_the_closed_form():
    stretch = 1.3
    pair, data, _ = partly_there(stretch=stretch)
    found = posterior_gap(pair, *data, num_samples=20_000, **QUIET)
    # KL of normals of equal mean, one for each latent that exists
    each = (stretch**2 - 1) / 2 - torch.tensor(stretch).log()
    truth = each * (1.0 + data[1])
    assert within(found.value, truth, found.stderr)


def test_the_picture_shows_both_latents_and_says_what_it_leaves_out():
    pair, data, truth = partly_there()
    seen = picture(pair, *data, num_samples=100, **QUIET)
    torch.testing.assert_close(seen.evidence.value, truth)
    assert seen.gap.value.abs().max() < 1e-9
    assert "'b' is masked in some rows" in seen.left_out
    assert {"log q/p of a", "log q/p of b"} <= set(seen.rows())


@pytest.mark.parametrize("measure", [latents, joint_kl])
def test_without_a_q_of_z_for_all_data_it_is_refused(measure):
    pair, data, _ = partly_there()
    with pytest.raises(ValueError, match=r"latent 'b' is masked in some rows.*all there"):
        measure(pair, *data, **QUIET)
    whole = tuple(d[data[1]] for d in data)
    assert str(measure(pair, *whole, **QUIET))


def test_the_bracket_closes():
    pair, data, _ = partly_there(30)
    found = bracket(pair, *data, num_steps=3, num_chains=5, **QUIET)
    assert found.distance.value.abs().max() < 1e-6


def apart():
    """The pair with a guide in which the latents are independent: the best one, off by a third."""

    def guide(x, is_there):
        with pyro.plate("data", x.shape[0]):
            scale = torch.full_like(x, 0.5**0.5)
            with poutine.mask(mask=is_there):
                pyro.sample("b", dist.Normal(torch.where(is_there, x / 3, 50.0), scale))
            pyro.sample("a", dist.Normal(torch.where(is_there, x / 3, x / 2) + 1 / 3, scale))

    pair, data, truth = partly_there()
    return pv.Pair(pair.functions["model"], guide, name="apart"), data, truth


def test_gaps_are_the_closed_form():
    pair, data, truth = apart()
    found = inference_gaps(pair, *data, num_steps=200, num_samples=4000, seed=0, **QUIET)
    # of the precision [[2, 1], [1, 2]] of both, and of none where only a exists
    approximation = torch.where(data[1], torch.tensor(4 / 3).log() / 2, 0.0)
    amortisation = torch.full_like(truth, 1 / 9)

    error = found.approximation.stderr
    assert within(found.approximation.value, approximation, error + 0.002)
    assert within(found.amortisation.value, amortisation, found.amortisation.stderr + 0.002)


def test_another_family_has_no_mask():
    pair, data, _ = apart()
    with pytest.raises(ValueError, match=r"'b' is masked.*leave family= out"):
        inference_gaps(pair, *data, family=pv.MultivariateNormal, num_steps=2, **QUIET)


def test_a_grid_is_of_the_rows_that_have_the_latent():
    pair = Learned()
    with pytest.raises(ValueError, match=r"'z' is masked in some rows.*no posterior there"):
        grid_posterior(pair, ROWS, IS_THERE, size=20)
    found = grid_posterior(pair, ROWS[IS_THERE], IS_THERE[IS_THERE], size=80)
    # x = 0.8 (z1 + z2) + noise, z ~ N(0.3, 1)
    truth = dist.Normal(2 * 0.8 * 0.3, (1 + 2 * 0.8**2) ** 0.5).log_prob(ROWS[IS_THERE])
    assert (found.log_evidence - truth).abs().max() < 1e-3


@pytest.mark.parametrize(("stretch", "passes"), [(1.0, True), (0.5, False)])
def test_calibration_judges_what_exists(stretch, passes):
    pair, data, _ = partly_there(900, stretch=stretch)
    found = calibrate(pair, *data, **QUIET)
    hidden = found.ranks[:, found.names.index("b")] < 0

    assert found.passed is passes
    assert torch.equal(hidden, ~data[1]) and (found.ranks[:, found.names.index("a")] >= 0).all()
    counts, _ = found.histogram()
    assert sorted(counts.sum(0).tolist()) == [600.0, 900.0, 900.0, 900.0]
    assert ranks(found)


def test_few_rows_that_exist_are_judged_as_if_they_were_all():
    """A fault of b that 60 rows show is not drowned in 1,740 rows that do not have b."""
    pair, (x, _), _ = partly_there(1800, stretch=0.4)
    is_there = torch.arange(1800) % 30 == 0
    found = calibrate(pair, x, is_there, **QUIET)
    assert found.pvalue[found.names.index("b")] < 1e-3


def test_a_latent_that_exists_nowhere_has_no_fault():
    pair, (x, is_there), _ = partly_there(300)
    found = calibrate(pair, x, torch.zeros_like(is_there), **QUIET)
    assert found.passed and found.pvalue[found.names.index("b")] == 1


# trained


class Learned(nn.Module):
    """z exists in some rows. Where it does not, p and q of it are parameters that count nothing."""

    def __init__(self):
        super().__init__()
        self.there = nn.Parameter(torch.tensor([0.3, 0.8, 0.1, 0.6]))
        self.nowhere = nn.Parameter(torch.tensor([-7.0, 50.0]))

    def model(self, x, is_there):
        pyro.module("learned", self)
        loc = torch.where(is_there, self.there[0], self.nowhere[0])[:, None].expand(-1, 2)
        with pyro.plate("data", x.shape[0]):
            with poutine.mask(mask=is_there):
                z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            mean = torch.where(is_there, self.there[1] * z.sum(-1), 0.0)
            pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    def guide(self, x, is_there):
        pyro.module("learned", self)
        loc = torch.where(is_there, self.there[2] * x, self.nowhere[1])[:, None].expand(-1, 2)
        with pyro.plate("data", x.shape[0]), poutine.mask(mask=is_there):
            pyro.sample("z", dist.Normal(loc, self.there[3]).to_event(1))


IS_THERE = torch.arange(12) % 3 > 0
ROWS = torch.randn(12, generator=torch.Generator().manual_seed(5))
BOUNDS = {
    "Trace_ELBO": Trace_ELBO,
    "TraceMeanField_ELBO": TraceMeanField_ELBO,
    "ELBO": partial(pv.EvidenceLowerBound, 2),
    "ELBO, landing": partial(pv.EvidenceLowerBound, 2, "sticking_the_landing"),
    "AnalyticKL": pv.AnalyticKL,
    "ImportanceWeighted": partial(pv.ImportanceWeighted, 3),
    "ImportanceWeighted, doubly": partial(pv.ImportanceWeighted, 3, "doubly_reparametrised"),
    "Renyi": partial(pv.Renyi, 0.5, 3),
    "MIWAE": partial(pv.MIWAE, 2, 2),
    "PIWAE": partial(pv.PIWAE, 2, 2),
    "CIWAE": partial(pv.CIWAE, 0.5, 2),
    "VIMCO": partial(pv.VIMCO, 2),
    "ReweightedWakeSleep": partial(pv.ReweightedWakeSleep, 2),
    "FreeBits": partial(pv.FreeBits, 0.02),
    "FreeBits by site": partial(pv.FreeBits, 0.02, per="site"),
}


def parts_of(bound):
    """The loss of all rows, and those of the rows with z and of the rows without, for the share."""
    pair = Learned()
    objective = pv.Objective(pair, bound)
    share = IS_THERE.float().mean()
    losses = []
    for rows in (torch.ones(12, dtype=torch.bool), IS_THERE, ~IS_THERE):
        torch.manual_seed(1)
        with unvalidated():
            losses.append(objective(ROWS[rows], IS_THERE[rows]))
    losses[0].backward()
    return losses, share, pair


@pytest.mark.parametrize("name", BOUNDS)
def test_rows_without_the_latent_are_those_of_the_likelihood(name):
    (whole, _, without), _, pair = parts_of(BOUNDS[name]())
    truth = -dist.Normal(0.0, 1.0).log_prob(ROWS[~IS_THERE]).mean()

    torch.testing.assert_close(without, truth)
    assert whole.isfinite()
    assert (pair.nowhere.grad == 0).all() and pair.there.grad.abs().min() > 0


@pytest.mark.parametrize("per", ["dimension", "site"])
def test_free_bits_are_spent_where_the_latent_exists(per):
    """All terms are below what is free, so that rows with the latent pay just that."""
    nats, count = 30.0, 2 if per == "dimension" else 1
    (whole, there, _), share, _ = parts_of(pv.FreeBits(nats, per))
    torch.manual_seed(1)
    unpaid = pv.KLWeight(pv.Objective(Learned()), 0.0)(ROWS[IS_THERE], IS_THERE[IS_THERE])

    torch.testing.assert_close(there, unpaid + nats * count)
    torch.manual_seed(1)
    unpaid = pv.KLWeight(pv.Objective(Learned()), 0.0)(ROWS, IS_THERE)
    torch.testing.assert_close(whole, unpaid + share * nats * count)


def test_the_capacity_is_held_by_the_kl_of_what_exists():
    (_, _, without), _, _ = parts_of(pv.Capacity(2.0, 0.0))
    truth = -dist.Normal(0.0, 1.0).log_prob(ROWS[~IS_THERE]).mean()
    torch.testing.assert_close(without, truth)


@pytest.mark.parametrize(
    "bound",
    [pv.MMD(10.0), pv.TotalCorrelation(2.0, 12), pv.TotalCorrelation(2.0, 12, "stratified")],
)
def test_objectives_of_q_of_z_refuse_it(bound):
    with pytest.raises(ValueError, match=r"latent 'z' is masked, so q\(z\) has no density"):
        pv.Objective(Learned(), bound)(ROWS, IS_THERE)


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_a_weight_on_the_kl_warms_up_what_exists(weight):
    losses = []
    for beta in (weight, {"z": weight}):
        objective = pv.KLWeight(pv.Objective(Learned()), beta)
        torch.manual_seed(1)
        losses.append(objective(ROWS[~IS_THERE], IS_THERE[~IS_THERE]))
    truth = -dist.Normal(0.0, 1.0).log_prob(ROWS[~IS_THERE]).mean()
    torch.testing.assert_close(losses, [truth, truth])


@pytest.mark.parametrize("bound", [None, pv.ImportanceWeighted(3), pv.FreeBits(0.4)], ids=repr)
def test_compiled_is_eager(bound):
    theirs, ours = (pv.Objective(Learned(), bound) for _ in range(2))
    ours._compiled_call_impl = exported(ours)
    for rows in (12, 7):
        data = ROWS[:rows], IS_THERE[:rows]
        (a, da), (b, db) = loss_and_gradients(theirs, *data), loss_and_gradients(ours, *data)
        same(a, b)
        same(da, db)


def test_fit_leaves_what_does_not_exist_alone():
    pair = Learned()
    problems = pv.check(pair, ROWS, IS_THERE).problems
    assert len(problems) == 1 and problems[0].startswith("nowhere gets no gradient")
    history = pv.fit(pair, ROWS, IS_THERE, epochs=3, batch_size=4, seed=0, progress=False)
    assert torch.equal(pair.nowhere.detach(), Learned().nowhere.detach())
    assert all(value == value for value in history.elbo)


@pytest.mark.parametrize("side", ["model", "guide"])
def test_a_mask_on_one_side_is_refused(side):
    pair, data, _ = partly_there()
    functions = dict(pair.functions)
    functions[side] = partial(functions[side])
    hide = poutine.mask(functions[side], mask=False)
    functions[side] = lambda x, is_there: hide(x, is_there)
    wrong = pv.Pair(**functions, name="wrong")
    with pytest.raises(ValueError, match=r"'b' is masked in other rows in the model than"):
        log_weights(wrong, *data, num_samples=3)
    with pytest.raises(ValueError, match=r"mask it in both alike, with pyro\.poutine\.mask"):
        pv.fit(wrong, *data, epochs=1, progress=False)
