"""Imputation against closed forms."""

from functools import partial

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import impute
from tests.oracles import linear_gaussian, within

small = partial(pv.networks.mlp, hidden=(8,))


def pair_of(world, **q):
    return pv.VAE(
        prior=pv.StandardNormal(world.w.shape[1]),
        likelihood=pv.missing(world.pair().likelihood),
        variational=pv.StudentT(
            world.w.shape[1], given=len(world.b), net=pv.masked(small), df=5.0, scale=1.0, **q
        ),
    ).double()


def holed(x, share=0.4):
    holes = torch.rand(x.shape) < share
    holes[:, 0] = False
    return x.masked_fill(holes, torch.nan)


def conditional(world, row):
    """The mean and covariance of p(x_mis | x_obs)."""
    c = world.w @ world.w.T + world.s**2 * torch.eye(len(world.b), dtype=world.w.dtype)
    m = row.isnan()
    gain = torch.linalg.solve(c[~m][:, ~m], c[~m][:, m]).T
    return world.b[m] + gain @ (row - world.b)[~m], c[m][:, m] - gain @ c[~m][:, m]


def test_the_mean_is_the_regression_on_the_observed_cells():
    world = linear_gaussian(d=2, n=5)
    x = holed(world.sample(30))
    found = impute(pair_of(world), x, num_samples=20_000, progress=False)
    holes = x.isnan()
    truth = x.clone()
    for row in truth:
        row[row.isnan()] = conditional(world, row)[0]

    assert holes.any() and torch.equal(found.value[~holes], x[~holes])
    assert within(found.value, truth, found.stderr) and 0 < found.stderr[holes].max() < 0.05
    assert (found.stderr[~holes] == 0).all()
    z = ((found.value - truth) / found.stderr)[holes]
    assert 0.5 < z.square().mean() < 2, "the standard error is that of the estimate"
    assert ((found.ess > 100) & (found.ess <= 20_000)).all() and found.draws.shape == (0, 30, 5)


def test_with_the_posterior_as_variational_all_weights_are_equal():
    world = linear_gaussian()
    exact = world.pair()
    pair = pv.VAE(
        prior=exact.prior, likelihood=pv.missing(exact.likelihood), variational=exact.variational
    ).double()
    x = world.sample(7)
    found = impute(pair, x, num_samples=50, progress=False)
    assert torch.allclose(found.ess, torch.full((7,), 50.0).double()) and torch.equal(
        found.value, x
    )


def test_draws_have_the_spread_of_what_is_missing():
    world = linear_gaussian(d=2, n=4)
    row = world.sample(1)
    row[0, 1:3] = torch.nan
    found = impute(pair_of(world), row, num_samples=20_000, draws=5_000, progress=False)
    mean, covariance = conditional(world, row[0])
    draws = found.draws[:, 0]
    assert (draws[:, [0, 3]] == row[0, [0, 3]]).all()
    error = draws[:, 1:3].std(0) / (found.ess.item() ** -1 + 1 / 5_000) ** -0.5
    assert within(draws[:, 1:3].mean(0), mean, error)
    # 5 standard errors of a variance, and of a covariance that is no larger
    scale = covariance.diagonal().max() * (2 * (1 / found.ess.item() + 1 / 5_000)) ** 0.5
    assert within(draws[:, 1:3].T.cov(), covariance, scale)


class Zeros(torch.nn.Module):
    """A network of one bias."""

    def __init__(self, given_shapes, out_shape):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(out_shape))

    def forward(self, *given):
        return self.bias.expand(given[0].shape[0], -1)


@pytest.mark.parametrize(
    "column, mode, probability",
    [
        ((pv.Categorical, {"classes": 3, "logits": torch.tensor([[0.1, 0.7, 0.2]]).log()}), 1, 0.7),
        ((pv.Bernoulli, {"logits": -1.0}), 0, 0.7310586),
        ((pv.Poisson, {"rate": 4.5}), 4, 0.1898076),
        ((pv.Binomial, {"total_count": 4, "logits": 2.0}), 4, 0.601854),
    ],
    ids=["classes", "binary", "counts", "trials"],
)
def test_of_a_discrete_column_it_is_the_most_probable_value(column, mode, probability):
    """Of columns that z does not touch, beside one that it does."""
    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.missing(pv.Columns({"a": pv.Normal, "b": column}, given=2, net=small)),
        variational=pv.Normal(2, given=2, net=pv.masked(small)),
    )
    x = torch.tensor([[0.3, torch.nan], [torch.nan, 1.0]])
    found = impute(pair, x, num_samples=500, draws=3, progress=False)
    assert found.value[0].tolist() == [pytest.approx(0.3), mode] and found.value[1, 1] == 1
    assert found.stderr[0, 1] < 1e-6 < found.stderr[1, 0]
    assert found.draws.shape == (3, 2, 2) and (found.draws[:, 0, 1] % 1 == 0).all()
    q = pair.likelihood.likelihood(torch.zeros(2)).parts["b"]
    assert q.log_prob(torch.tensor([float(mode)])).exp().item() == pytest.approx(
        probability, rel=1e-4
    )


def test_the_most_probable_class_given_the_rest_is_found_by_bayes_rule():
    """Two classes of which z's sign decides: p(class | x_obs) is a sum over a grid of z."""
    decode = torch.nn.Linear(1, 3)
    decode.weight.data, decode.bias.data = torch.tensor([[1.0], [0.0], [3.0]]), torch.zeros(3)
    likelihood = pv.Columns(
        {"a": (pv.Normal, {"scale": 1.0}), "b": (pv.Categorical, {"classes": 2})}, 1, decode
    )
    pair = pv.VAE(
        prior=pv.StandardNormal(1),
        likelihood=pv.missing(likelihood),
        variational=pv.Normal(1, given=2, net=pv.masked(Zeros)),
    )
    a = torch.tensor([-1.5, -0.2, 0.2, 1.5])
    x = torch.stack([a, torch.full((4,), torch.nan)], 1)
    found = impute(pair, x, num_samples=20_000, progress=False)

    z = torch.linspace(-8, 8, 4001)[:, None]
    weight = torch.softmax(-z.square() / 2 - (a - z).square() / 2, 0)
    truth = (weight * torch.sigmoid(3 * z)).sum(0)
    assert found.value[:, 1].tolist() == [0, 0, 1, 1] == (truth > 0.5).float().tolist()


def test_a_mixture_of_tables_imputes_by_the_component_of_the_rest():
    """Two clusters, far apart: what is missing lies in that of what is observed, not between."""
    mixture = pv.Mixture(pv.Normal, 2, given=1, components=2, net=Zeros, scale=0.1)
    mixture.components.net.body.bias.data = torch.tensor([-3.0, -3.0, 3.0, 3.0])
    pair = pv.VAE(
        prior=pv.StandardNormal(1),
        likelihood=pv.missing(mixture),
        variational=pv.Normal(1, given=2, net=pv.masked(small)),
    )
    x = torch.tensor([[-3.0, torch.nan], [torch.nan, 3.1]])
    found = impute(pair, x, num_samples=100, draws=50, progress=False)
    torch.testing.assert_close(
        found.value, torch.tensor([[-3.0, -3.0], [3.0, 3.1]]), rtol=0, atol=1e-3
    )
    assert (found.draws[:, 0, 1] < -2).all() and (found.draws[:, 1, 0] > 2).all()


def test_a_family_without_a_mean_is_imputed_by_its_draws():
    likelihood = pv.missing(pv.LogitNormal(2, given=2, net=small, scale=1.0))
    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=likelihood,
        variational=pv.Normal(2, given=2, net=pv.masked(small)),
    )
    found = impute(pair, torch.tensor([[0.5, torch.nan]]), num_samples=4000, progress=False)
    z = torch.randn(100_000, 2)
    truth = likelihood(z).sample()
    weight = likelihood(z).log_prob(torch.tensor([0.5, torch.nan]).expand(100_000, 2)).softmax(0)
    mean = (weight * truth[:, 1]).sum()
    error = found.stderr[0, 1] + (weight * (truth[:, 1] - mean)).square().sum().sqrt()
    assert within(found.value[0, 1], mean, error) and 0 < found.stderr[0, 1] < 0.02


def test_blocks_of_rows_give_the_whole(monkeypatch):
    world = linear_gaussian(d=2, n=5)
    x = holed(world.sample(9))
    monkeypatch.setattr("pyro_vae.weights.blocks.KEPT", 5 * 500 * 2)
    found = impute(pair_of(world), x, num_samples=500, draws=4, progress=False)
    whole = impute(pair_of(world), x, num_samples=20_000, progress=False)
    assert (
        found.value.shape == (9, 5) and found.ess.shape == (9,) and found.draws.shape == (4, 9, 5)
    )
    assert within(
        found.value, whole.value, (found.stderr.square() + whole.stderr.square()).sqrt() + 1e-9, 6
    )
    assert (found.draws[:, ~x.isnan()] == x[~x.isnan()]).all()


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"num_samples": 0}, ValueError, "num_samples: expected a positive whole number, got 0"),
        ({"draws": -1}, ValueError, "draws: expected a whole number of at least 0, got -1"),
        ({"num_samples": 2.5}, TypeError, r"num_samples: .*got 2\.5"),
    ],
)
def test_misuse_is_named(options, error, message):
    world = linear_gaussian()
    with pytest.raises(error, match=message):
        impute(pair_of(world), world.sample(3), **options)


def test_a_pair_that_takes_no_missing_values_is_refused():
    world = linear_gaussian()
    with pytest.raises(
        ValueError,
        match=r"no likelihood of it takes missing values; wrap it, likelihood=pv\.missing",
    ):
        impute(world.pair(), world.sample(3), progress=False)
    with pytest.raises(ValueError, match=r"x holds .* take NaN as missing"):
        impute(world.pair(), holed(world.sample(3), 0.9), progress=False)
