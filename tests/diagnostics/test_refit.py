import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.estimate import Estimate, average_draws
from pyro_vae.diagnostics.local import OwnFamily
from pyro_vae.diagnostics.refit import Search, _extrapolate, weigh_draws
from pyro_vae.progress import progress_bar
from pyro_vae.weights import blocks
from pyro_vae.weights.traces import quietly
from tests.oracles import linear_gaussian, within

BAR = progress_bar(1, "testing", show=False)


def find(search, pair, x):
    with quietly(pair):
        return search.fit(pair, (x,), BAR).q


def measure(q, pair, x, num_samples=500):
    with quietly(pair):
        return weigh_draws(q, pair, (x,), num_samples)


@pytest.mark.parametrize("family", [None, pv.MultivariateNormal], ids=["own", "other"])
def test_it_finds_the_posterior_where_the_family_holds_it(family):
    world = linear_gaussian()
    x, pair = world.sample(5), world.pair(0.5, 1.5)
    log_w = measure(find(Search(family, 500, 16, 0.1), pair, x), pair, x)
    assert (log_w.mean(0) - world.log_evidence(x)).abs().max() < 0.01
    assert log_w.std(0).max() < 0.1


def test_weights_of_the_start_are_those_of_the_guide():
    world = linear_gaussian()
    x, pair = world.sample(5), world.pair(0.3)
    with quietly(pair):
        q = OwnFamily(pair, (x,))
    bound = average_draws(measure(q, pair, x, 4000))
    mean = (x - world.b) @ world.to_mean.T + 0.3
    truth = world.log_evidence(x) - world.gap(x, mean, world.covariance)
    assert within(bound.value, truth, bound.stderr)


def normal_pair():
    """p(z | x) is normal with mean x / 2 and variance 1 / 2, and so is q."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    return pv.Pair(model, guide)


@pytest.mark.parametrize("learning_rate", [30.0, 1000.0])
def test_what_did_not_raise_the_elbo_is_taken_back(learning_rate):
    """At the posterior no step can raise the ELBO, and these are absurd besides."""
    x, pair = torch.randn(5), normal_pair()
    with quietly(pair):
        before = OwnFamily(pair, (x,))
    q = find(Search(None, 5, 4, learning_rate), pair, x)
    for old, new in zip(before.free, q.free, strict=True):
        assert torch.equal(old.tensor, new.tensor)


def test_each_datum_is_judged_by_itself():
    """The guide is right for the first two data and wrong for the others."""
    world = linear_gaussian()
    x = world.sample(4)
    shift = torch.tensor([0.0, 0.0, 2.0, 2.0]).double()

    def guide(x):
        mean = (x - world.b) @ world.to_mean.T
        mean = mean + (shift if len(x) == 4 else shift[: len(x)])[:, None]
        with pyro.plate("data", len(x)):
            fn = dist.MultivariateNormal(mean, scale_tril=torch.linalg.cholesky(world.covariance))
            pyro.sample("z", fn)

    pair = pv.Pair(world.pair().model, guide)
    q = find(Search(None, 30, 16, 0.3), pair, x)
    miss = q.factors["z"]().loc - (x - world.b) @ world.to_mean.T
    assert (miss.abs() < 0.05).all()


@pytest.mark.parametrize("rises", [[0.5], [1.0, 0.5], [0.1, 0.5]])
def test_what_is_left_is_at_least_the_last_rise(rises):
    """Halved from round to round, all rises to come are as much as the last."""
    each = [Estimate(torch.tensor([rise, 0.0]), torch.full((2,), 0.01)) for rise in rises]
    left = _extrapolate(each)
    share = min(rises[-1] / rises[-2], 0.9) if len(rises) > 1 else 0.9
    assert left.tolist() == pytest.approx([0.5 * max(share / (1 - share), 1), 0.0], rel=1e-4)


def test_a_climb_that_is_not_over_says_what_is_left():
    """A latent over the positive numbers has no normal to start at, and 5 steps lead nowhere."""
    x = torch.tensor([0.3, 0.6, 0.9]).double()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(torch.tensor(2.0).to(x), 1.0))
            pyro.sample("x", dist.Normal(z, 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Gamma(torch.full_like(x, 20.0), 2.0))

    pair = pv.Pair(model, guide)
    with quietly(pair):
        few, enough = (Search(None, steps, 16, 0.1).fit(pair, (x,), BAR) for steps in (5, 2000))
        bounds = [weigh_draws(found.q, pair, (x,), 2000).mean(0) for found in (few, enough)]
    assert (few.left > 1).all() and (enough.left < 0.1).all()
    assert (few.left > 0.3 * (bounds[1] - bounds[0])).all()


def test_pieces_give_what_one_piece_gives(monkeypatch):
    world = linear_gaussian()
    x, pair = world.sample(5), world.pair()
    with quietly(pair):
        q = OwnFamily(pair, (x,))
    monkeypatch.setattr(blocks, "KEPT", 7 * x.numel())
    log_w = measure(q, pair, x, 50)
    assert log_w.shape == (50, 5) and log_w.dtype == torch.float64
    assert (log_w - world.log_evidence(x)).abs().max() < 1e-9


def test_the_bar_counts_a_step_of_each_datum():
    world = linear_gaussian()
    x, pair = world.sample(5), world.pair()
    bar, counted = progress_bar(1, "testing", show=False), []
    bar.update = counted.append
    with quietly(pair):
        Search(None, 3, 2, 0.1).fit(pair, (x,), bar)
    assert counted == [5, 5, 5]


def test_as_many_data_at_a_time_as_fit(monkeypatch):
    monkeypatch.setattr(blocks, "KEPT", 1000)
    assert Search(None, 1, 5, 0.1).count_rows(torch.zeros(3, 10)) == 5  # 4 · 10 · 5 each
    assert Search(None, 1, 500, 0.1).count_rows(torch.zeros(3, 10)) == 1


@pytest.mark.parametrize(
    "arguments, error, said",
    [
        ((3, 1, 1, 0.1), TypeError, "family: expected a class of families"),
        ((None, 0, 1, 0.1), ValueError, "num_steps: expected a positive whole number"),
        ((None, 1, 1.5, 0.1), TypeError, "num_particles: expected a positive whole number"),
        ((None, 1, 1, -1.0), ValueError, "learning_rate: expected a positive number"),
        ((None, 1, 1, "a"), TypeError, "learning_rate: expected a positive number"),
    ],
)
def test_bad_settings_are_named(arguments, error, said):
    with pytest.raises(error, match=said):
        Search(*arguments)
