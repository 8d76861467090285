"""Missing values: what is scored, what the guide sees, what is refused."""

from functools import partial

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.supports import describe
from pyro_vae.weights.intake import check_data
from tests.oracles import linear_gaussian, within

small = partial(pv.networks.mlp, hidden=(8,))


def vae(x=3, net=None, likelihood=None):
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.missing(pv.Normal(x, given=2, net=small))
        if likelihood is None
        else likelihood,
        variational=pv.Normal(2, given=x, net=pv.masked(small) if net is None else net),
    )


def holed(x, share=0.3):
    holes = torch.rand_like(x) < share
    holes.reshape(len(x), -1)[:, 0] = False
    return x.masked_fill(holes, torch.nan)


@pytest.mark.parametrize("event", [(3,), (2, 3), (1, 4, 4)], ids=str)
@pytest.mark.parametrize("lead", [(), (7,), (5, 7)], ids=str)
def test_only_observed_cells_are_scored(event, lead):
    complete = pv.Normal(event, given=2, net=small)
    z, x = torch.randn(*lead, 2), holed(torch.randn(7, *event))
    cells = complete(z).base_dist.log_prob(x.nan_to_num(0.0))
    truth = torch.where(x.isnan(), 0.0, cells).sum(tuple(range(-len(event), 0)))
    torch.testing.assert_close(pv.missing(complete)(z).log_prob(x), truth)


def test_log_evidence_is_that_of_the_observed_cells():
    """Probabilistic PCA without some of its rows is probabilistic PCA."""
    world = linear_gaussian(d=2, n=4)
    x = world.sample(6)
    x[:3, 1], x[3:, 2:] = torch.nan, torch.nan
    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.missing(world.pair().likelihood),
        variational=pv.StudentT(2, given=4, net=pv.masked(small), df=5.0, scale=1.0),
    ).double()
    found = pv.diagnostics.log_evidence(pair, x, num_samples=20_000, progress=False)
    truth = []
    for row in x:
        seen = ~row.isnan()
        part = world._replace(w=world.w[seen], b=world.b[seen])
        truth.append(part.log_evidence(row[seen]))
    assert within(found.value, torch.stack(truth), found.stderr) and found.stderr.max() < 0.05


def test_images_pass_through_convolutions_with_their_mask():
    pair = vae(
        (1, 8, 8),
        pv.masked(pv.networks.conv),
        pv.missing(pv.Bernoulli((1, 8, 8), given=2, net=small)),
    )
    x = holed(torch.bernoulli(torch.rand(20, 1, 8, 8)))
    assert pv.check(pair, x).problems == []
    assert pv.fit(pair, x, epochs=1, progress=False).elbo[0] < 0
    assert pv.reconstruct(pair, x)["x"].shape == x.shape


def test_draws_are_complete_and_the_support_takes_nan():
    p = pv.missing(pv.Gamma(3, given=2))(torch.randn(5, 2))
    assert not p.sample((9,)).isnan().any() and not p.mean.isnan().any()
    assert describe(p.support) == "above 0 or missing"
    assert not p.support.check(torch.tensor([-1.0, torch.nan, 1.0])).any()
    assert repr(pv.missing(pv.Gamma(3, given=2))) == "missing(Gamma((3,) | (2,)))"


def test_training_finds_what_is_there_under_the_holes():
    """The scale of a column is learned from its observed cells."""
    x = holed(torch.randn(4000, 2) * torch.tensor([1.0, 2.0]) + 1)
    pair = vae(2, likelihood=pv.missing(pv.Normal(2, given=2, net=small, scale="free")))
    pv.fit(pair, x, epochs=60, batch_size=500, learning_rate=1e-2, progress=False, seed=0)
    drawn = pv.simulate(pair, 4000)["x"]
    torch.testing.assert_close(drawn.std(0), torch.tensor([1.0, 2.0]), rtol=0.1, atol=0)
    torch.testing.assert_close(drawn.mean(0), torch.tensor([1.0, 1.0]), rtol=0, atol=0.2)


X = torch.tensor([[0.0, torch.nan, 1.0], [2.0, 3.0, torch.nan], [1.0, 1.0, 1.0]])


def row(i, value):
    x = X.clone()
    x[i] = value
    return x


MISUSES = {
    "all of a datum missing": (
        vae,
        row(1, torch.nan),
        r"x: every value is missing in rows \[1\]\. Remove those rows",
    ),
    "a likelihood that takes none": (
        lambda: vae(likelihood=pv.Normal(3, given=2)),
        X,
        r"x holds 2 values that are NaN or infinite, in rows \[0, 1\]\. "
        r".*likelihood=pv\.missing\(\.\.\.\)",
    ),
    "infinity": (
        vae,
        row(1, torch.inf),
        r"x holds 3 values that are NaN or infinite, in rows \[1\]\. Remove .* in\.",
    ),
    "a guide that is not told": (
        lambda: vae(net=small),
        X.repeat(3, 1).flip(0),
        r"the guide draws NaN where x has missing values: .*net=pv\.masked\(pv\.networks\.mlp\)",
    ),
    "outside the support": (
        lambda: vae(likelihood=pv.missing(pv.Gamma(3, given=2))),
        X - 5,
        r"support of Gamma: 100 % of its values are not above 0; they run from -5 to -2",
    ),
}


@pytest.mark.parametrize("pair, x, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(pair, x, message):
    with pytest.raises(ValueError, match=message):
        check_data(pair(), (x,))


def test_nan_beside_x_is_refused():
    with pytest.raises(ValueError, match=r"data\[1\] holds 1 values that are NaN"):
        check_data(vae(), (X, torch.tensor([0.0, torch.nan, 1.0])))


def test_whole_numbers_beside_nan_in_the_data_are_fine():
    pair = vae(likelihood=pv.missing(pv.Poisson(3, given=2)))
    check_data(pair, (torch.ones(4, 3, dtype=torch.long),))


def test_a_likelihood_that_is_no_conditional_is_refused():
    with pytest.raises(
        TypeError, match=r"likelihood: expected a conditional, pv.Normal\(3, given=2\), got Linear"
    ):
        pv.missing(nn.Linear(2, 3))


def test_dependent_cells_are_refused():
    with pytest.raises(TypeError, match="the cells of a MultivariateNormal are not independent"):
        pv.fit(vae(likelihood=pv.missing(pv.MultivariateNormal(3, given=2))), X, epochs=1)
