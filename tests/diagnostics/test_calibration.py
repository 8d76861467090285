import io

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import pyro_vae as pv
from pyro_vae.diagnostics.calibration import calibrate, judge_ranks
from pyro_vae.look import plots
from pyro_vae.weights import blocks
from tests.oracles import discrete_world, linear_gaussian


def faults(pair, n=1000, **options):
    found = calibrate(pair, n, **options)
    assert (
        found.ranks.shape == (n, 3)
        and found.ranks.min() >= 0
        and found.ranks.max() <= found.num_draws
    )
    return found


@pytest.mark.parametrize("num_draws", [99, 100, 7])
def test_the_exact_posterior_passes_as_often_as_it_should(num_draws):
    pair = linear_gaussian().pair()
    runs = []
    for seed in range(100):
        torch.manual_seed(seed)
        runs.append(faults(pair, 300, num_draws=num_draws))
    failures = sum(not run.passed for run in runs)
    assert failures <= stats.binom.isf(1e-6, 100, 0.01)
    # the dimensions of one run share its x*, so each is tested by itself
    for j in range(3):
        assert stats.kstest([run.pvalue[j].item() for run in runs], "uniform").pvalue > 1e-4
        assert stats.kstest([run.slope[j].item() for run in runs], "norm").pvalue > 1e-4
        assert stats.kstest([run.curve[j].item() for run in runs], "norm").pvalue > 1e-4


def test_the_verdict_holds_its_level_and_not_one_far_below_it():
    torch.manual_seed(0)
    runs = [judge_ranks(torch.randint(100, (500, 5)), 99, level=0.2) for _ in range(400)]
    failures = sum(not run.passed for run in runs)
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], 400, 1 - 0.96**5)
    assert low <= failures <= high


@pytest.mark.parametrize(
    "fault, said, other",
    [
        ({"shift": 0.3}, "biased: q lies too high", "low"),
        ({"shift": -0.3}, "biased: q lies too low", "high"),
        ({"stretch": 0.5}, "over-confident: q is too narrow", "under-confident"),
        ({"stretch": 2.0}, "under-confident: q is too wide", "over-confident"),
    ],
)
def test_planted_faults_are_named(fault, said, other):
    found = faults(linear_gaussian().pair(**fault))
    assert not found.passed
    assert all(words.startswith(said) and other not in words for words in found.faults())
    assert "3 of 3 dimensions at fault" in str(found) and said in str(found)
    if "stretch" in fault:
        assert found.slope.abs().max() < 5
    assert found.as_dict()["dimensions"]["z[2]"]["fault"].startswith(said)


@pytest.mark.parametrize("shift", [0.2, 0.5, 1.5])
@pytest.mark.parametrize(
    "stretch, width",
    [
        (1.0, None),
        (0.6, "over-confident: q is too narrow"),
        (2.0, "under-confident: q is too wide"),
    ],
)
def test_a_bias_is_told_from_a_wrong_width(shift, stretch, width):
    # in units of the posterior's own width
    torch.manual_seed(0)
    u = dist.Normal(shift, stretch).cdf(torch.randn(2000, 1))
    words = (
        judge_ranks(dist.Binomial(99, u.clamp(0, 1)).sample().long(), 99).faults()[0].split("; ")
    )
    assert "biased: q lies too high" in words
    if width is None:
        assert len(words) == 1
    elif shift < 1:
        assert sorted(words) == ["biased: q lies too high", width]


def test_only_the_dimension_at_fault_is_named():
    world = linear_gaussian()
    pair = world.pair()
    pair.variational.net.body.bias.data[1] += 0.5
    found = faults(pair)
    assert [bool(words) for words in found.faults()] == [False, True, False]
    assert "1 of 3 dimensions at fault" in str(found)


def test_ranks_of_another_shape_are_still_found():
    comb = torch.tensor([0, 3, 4, 7, 8, 11, 12, 15, 16, 19])
    found = judge_ranks(5 * comb[torch.randint(10, (1000, 1))] + torch.randint(5, (1000, 1)), 99)
    assert not found.passed
    assert found.faults() == ["not the posterior: ranks of another shape"]


def test_it_sees_a_guide_that_is_the_prior_by_the_joint_density_alone():
    pair = linear_gaussian().pair()
    pair.variational.net.body.weight.data.zero_()
    pair.variational.net.body.bias.data.zero_()
    pair.variational.layout.fixed_scale_tril = torch.eye(3).double()
    x = pv.simulate(pair, 100)["x"]
    found = faults(pair)
    assert not found.passed and not any(found.faults())
    assert [bool(words) for words in found.joint_faults()] == [False, True]
    assert "jointly at fault, though no dimension is by itself" in str(found)
    assert pv.diagnostics.picture(pair, x, num_samples=500).gap.value.mean() > 1


@pytest.mark.parametrize("sign", [-1, 0])
def test_it_sees_a_wrong_correlation_of_dimensions(sign):
    """With the correlations turned round it once said that no fault was found."""
    world = linear_gaussian()
    pair = world.pair()
    alone = world.covariance.diagonal().diag()
    wrong = alone + sign * (world.covariance - alone)
    pair.variational.layout.fixed_scale_tril = torch.linalg.cholesky(wrong)
    found = faults(pair)
    assert not found.passed and not any(found.faults())


def test_a_shift_of_a_fifth_of_a_standard_deviation_is_found():
    """The chi-squared test alone finds it in about half of the runs."""
    ranks = []
    for _ in range(100):
        u = dist.Normal(0.2, 1.0).cdf(torch.randn(500, 1))
        ranks.append(dist.Binomial(99, u).sample().long())
    verdicts = [judge_ranks(r, 99) for r in ranks]
    assert sum(not found.passed for found in verdicts) >= 85
    assert sum((found.pvalue < 0.01).item() for found in verdicts) < 80


def test_discrete_latents_break_their_ties_at_random():
    world = discrete_world()
    x = torch.zeros(2000, dtype=torch.long)
    p = (world.p_z[:, None] * world.p_x_given_z).T
    exact = world._replace(q_z_given_x=p / p.sum(1, keepdim=True))
    found = calibrate(exact.pair(), x)
    assert found.passed and found.names == ["z"]
    assert not calibrate(world.pair(), x).passed


def test_a_hand_written_pair_with_covariates_and_two_latents():
    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(y, 1.0))
            b = pyro.sample("b", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(a, 1.0), obs=x)
            pyro.sample("noise", dist.Normal(b.sum(-1), 1.0), obs=y)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("a", dist.Normal((x + y) / 2, 0.5**0.5))
            pyro.sample("b", dist.Normal(x.new_zeros(2), 1.0).to_event(1))

    # y is observed as well, so both of its uses get the simulated one; its a follows the template's
    found = calibrate(pv.Pair(model, guide), torch.zeros(500), torch.zeros(500))
    assert found.names == ["a", "b[0]", "b[1]"] and found.ranks.shape == (500, 3)


def test_a_conditional_prior_is_calibrated_given_its_covariate():
    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(y, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal((x + y) / 2, 0.5**0.5))

    y = 3 * torch.randn(1000)
    assert calibrate(pv.Pair(model, guide), torch.zeros(1000), y).passed
    assert not calibrate(
        pv.Pair(model, lambda x, y: guide(x, 0 * y)), torch.zeros(1000), y.abs()
    ).passed


def test_chunks(monkeypatch):
    monkeypatch.setattr(blocks, "KEPT", 10_000)
    pair = linear_gaussian().pair()
    torch.manual_seed(1)
    assert faults(pair, 1010).passed
    assert calibrate(pair, torch.zeros(500, 6).double()).passed


def test_bad_arguments():
    pair = linear_gaussian().pair()
    with pytest.raises(ValueError, match="expected ten rows or more to simulate"):
        calibrate(pair, 3)
    with pytest.raises(ValueError, match="num_draws: expected a positive whole number"):
        calibrate(pair, 100, num_draws=0)
    with pytest.raises(ValueError, match="level: expected a number between 0 and 1"):
        calibrate(pair, 100, level=1.0)
    with pytest.raises(TypeError, match="level: expected a number between 0 and 1"):
        calibrate(pair, 100, level="high")
    with pytest.raises(TypeError, match="num_draws: expected a positive whole number"):
        calibrate(pair, 100, num_draws=9.5)
    with pytest.raises(ValueError, match="x: expected a template"):
        calibrate(pair)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("w", dist.Normal(x, 1.0))

    with pytest.raises(ValueError, match="latents of the model, z, are not those of the guide, w"):
        calibrate(pv.Pair(model, guide), torch.zeros(20))

    def halved(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("w", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x / 2)

    with pytest.raises(ValueError, match="the model observes x, not one of its arguments as it is"):
        calibrate(pv.Pair(halved, guide), torch.zeros(20))


@pytest.mark.parametrize("d", [1, 3, 6])
def test_the_figure(d):
    torch.manual_seed(0)
    ranks = torch.randint(100, (1000, d))
    ranks[:, 0] = dist.Binomial(99, dist.Normal(0.5, 1.0).cdf(torch.randn(1000))).sample().long()
    figure = plots.ranks(judge_ranks(ranks, 99))
    figure.savefig(io.BytesIO(), format="png")
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert len(titles) == d and titles[0].startswith("z[0]: biased\np = ")
    assert all("no fault found" in title for title in titles[1:])
