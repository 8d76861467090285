"""Counts out of a known total: means by hand, draws that follow it, and totals that are refused."""

from functools import partial

import pytest
import torch
from scipy import stats
from torch import nn

import pyro_vae as pv
from tests.draws import assert_within_errors

QUIET = {"progress": False}
net = partial(pv.networks.mlp, hidden=(8,))


def cells(rows=12, genes=5):
    torch.manual_seed(0)
    size = torch.linspace(20.0, 200.0, rows)
    x = torch.poisson(size[:, None].expand(rows, genes) / genes)
    return x, torch.eye(2)[torch.arange(rows) % 2], size


def vae(**options):
    likelihood = pv.GammaPoisson(5, given=[2, 2], net=net, dispersion="free")
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.exposed(likelihood, **options),
        variational=pv.Normal(2, given=[5, 2], net=pv.networks.logged(net)),
    )


@pytest.mark.parametrize("others", [False, True])
def test_the_density_is_scipys_at_shares_of_the_size(others):
    x, batch, size = cells()
    likelihood = pv.GammaPoisson(5, given=[2, 2], net=net).double()
    part = pv.exposed(likelihood, others=others)
    z = torch.randn(12, 2).double()

    with torch.no_grad():
        log_p = part(z, batch, size.double()).log_prob(x)
        numbers = likelihood.net(z, batch)
    weight = numbers[:, :5].exp()
    mean = size[:, None] * weight / (weight.sum(-1, keepdim=True) + others)
    r = 1 / nn.functional.softplus(numbers[:, 5:])
    truth = stats.nbinom.logpmf(x, r, r / (r + mean)).sum(-1)
    torch.testing.assert_close(log_p, torch.tensor(truth))


def test_only_the_mean_is_shared_out():
    part = pv.exposed(pv.ZeroInflatedGammaPoisson(3, given=2))
    z, size = torch.randn(4, 2), torch.full((4,), 50.0)
    p, bare = part(z, size).base_dist, part.likelihood(z).base_dist

    torch.testing.assert_close(p.log_mean.exp().sum(-1), size)
    assert torch.equal(p.dispersion, bare.dispersion)
    assert torch.equal(p.gate_logits, bare.gate_logits)


@pytest.mark.parametrize("event", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("given", [None, 2], ids=["free", "given"])
def test_shapes(event, given):
    part = pv.exposed(pv.GammaPoisson(event, given))
    z = [torch.randn(7, 1, 2)] if given else []
    p = part(*z, torch.arange(1, 5))

    assert p.batch_shape == ((7, 4) if given else (4,)) and p.event_shape == event
    assert part.given_shapes == ([(2,), ()] if given else [()])
    sums = p.mean.reshape(*p.batch_shape, -1).sum(-1)
    torch.testing.assert_close(sums, torch.arange(1, 5).float().expand(p.batch_shape))


@pytest.mark.parametrize("given", [[2], [2, 2, 2]], ids=str)
def test_a_call_without_the_size_is_refused(given):
    part = pv.exposed(pv.GammaPoisson(3, given=2))
    with pytest.raises((TypeError, ValueError), match=r"given variable"):
        part(*(torch.zeros(4, shape) for shape in given))


def test_draws_follow_the_size():
    pair = vae()
    for size in (10.0, 1000.0):
        given = [torch.tensor([1.0, 0.0]), torch.tensor(size)]
        total = pv.simulate(pair, 4000, given=given)["x"].sum(-1)
        assert_within_errors(total, torch.tensor(size))


def test_others_leave_less_than_the_size():
    given = [torch.tensor([1.0, 0.0]), torch.tensor(100.0)]
    mean = pv.simulate(vae(others=True), 50, given=given, mean=True)["x"]
    assert (mean.sum(-1) < 99).all() and (mean > 0).all()


def test_ranks_are_uniform_where_q_is_the_posterior():
    """z has no say in x, so its prior is its posterior, whatever the size is."""
    pair = pv.VAE(
        prior=pv.StandardNormal(1),
        likelihood=pv.exposed(
            pv.GammaPoisson(3, given=1, net=nn.Linear(1, 3), dispersion=0.5), others=True
        ),
        variational=pv.Normal(1, given=3, net=nn.Linear(3, 1), scale=1.0),
    )
    for layer in (pair.likelihood.likelihood.net.body, pair.variational.net.body):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    size = torch.linspace(1.0, 300.0, 200)
    found = pv.diagnostics.calibrate(pair, torch.zeros(200, 3), size, num_draws=19, **QUIET)
    assert (found.pvalue > 1e-3).all()


BAD_SIZES = {
    "zero": (0.0, r"data\[2\]: expected finite values above 0, got 0, in rows \[3\]"),
    "negative": (-4.0, "got -4, in rows"),
    "infinite": (torch.inf, r"data\[2\]"),
    "NaN": (torch.nan, r"data\[2\] holds 1 values that are NaN"),
}


@pytest.mark.parametrize(("value", "words"), BAD_SIZES.values(), ids=BAD_SIZES)
def test_a_size_that_is_no_size_is_refused(value, words):
    pair, (x, batch, size) = vae(), cells()
    size[3] = value
    with pytest.raises(ValueError, match=words):
        pv.fit(pair, x, batch, size, epochs=1, **QUIET)
    with pytest.raises(ValueError, match=words):
        pv.diagnostics.log_weights(pair, x, batch, size, num_samples=2)
    with pytest.raises(ValueError, match=r"data\[2\]: expected finite values above 0"):
        pv.simulate(pair, 12, given=[batch, size])


BAD_DATA = {
    "negative counts": (lambda x, s, n: (x - 50, s, n), ValueError, "not a count; they run from -"),
    "parts of counts": (lambda x, s, n: (x / 2, s, n), ValueError, "not a count.*Round it"),
    "sizes of other cells": (lambda x, s, n: (x, s, n[:5]), ValueError, r"data\[2\]: .* as x, 12"),
    "sizes in a column": (
        lambda x, s, n: (x, s, n[:, None]),
        ValueError,
        r"data\[2\]: .*shape \(\)",
    ),
    "no sizes": (lambda x, s, n: (x, s), TypeError, r"x and 2 covariate\(s\)"),
    "a batch of NaN": (lambda x, s, n: (x, s * torch.nan, n), ValueError, r"data\[1\] holds 24"),
}


@pytest.mark.parametrize(("spoil", "error", "words"), BAD_DATA.values(), ids=BAD_DATA)
def test_data_that_do_not_fit_are_refused(spoil, error, words):
    with pytest.raises(error, match=words):
        pv.fit(vae(), *spoil(*cells()), epochs=1, **QUIET)
    with pytest.raises(error, match=words):
        pv.diagnostics.log_evidence(vae(), *spoil(*cells()), num_samples=2, **QUIET)


@pytest.mark.parametrize(
    "likelihood",
    [
        lambda: pv.Poisson(3, given=2),
        lambda: pv.missing(pv.GammaPoisson(3, given=2)),
        lambda: pv.GammaPoisson(3, given=2, log_mean="free"),
    ],
    ids=["no log mean", "no family", "a mean that is not computed"],
)
def test_a_likelihood_without_a_log_mean_is_refused(likelihood):
    with pytest.raises(TypeError, match=r"likelihood: .*pv\.GammaPoisson\(50, given=2\)"):
        pv.exposed(likelihood())


def test_missing_counts_have_a_size_too():
    pair = vae()
    pair = pv.VAE(
        prior=pair.prior,
        likelihood=pv.missing(pair.likelihood),
        variational=pv.Normal(2, given=[5, 2], net=pv.masked(net)),
    )
    x, batch, size = cells()
    x[1, 2] = torch.nan
    assert pv.diagnostics.log_weights(pair, x, batch, size, num_samples=2).isfinite().all()
    with pytest.raises(ValueError, match=r"data\[2\]: expected finite values above 0"):
        pv.Objective(pair), pv.diagnostics.log_weights(pair, x, batch, 0 * size, num_samples=2)
