"""Pairs with every kind of likelihood: exported, trained, measured, and their data checked."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.traces import latent_values, log_prob, sample_sites, trace, unvalidated

small = partial(pv.networks.mlp, hidden=(8,))


def vae(likelihood, variational=None):
    x = likelihood.event_shape
    q = pv.Normal(2, given=x, net=small) if variational is None else variational
    return pv.VAE(prior=pv.StandardNormal(2), likelihood=likelihood, variational=q)


LIKELIHOODS = {
    "one scale": lambda: pv.Normal(5, given=2, net=small, scale="shared"),
    "free scales": lambda: pv.Normal(5, given=2, net=small, scale="free"),
    "logit-normal": lambda: pv.LogitNormal(5, given=2, net=small),
    "von Mises": lambda: pv.VonMises(5, given=2, net=small),
    "256 classes": lambda: pv.Categorical(5, given=2, net=small, classes=256),
    "binomial": lambda: pv.Binomial(5, given=2, net=small, total_count=16),
    "discretised logistic": lambda: pv.DiscretisedLogistic(5, given=2, net=small, levels=256),
    "mixture of them": lambda: pv.DiscretisedLogisticMixture(
        5, given=2, net=small, levels=256, components=3
    ),
    "ordinal": lambda: pv.Ordinal(5, given=2, net=small, classes=4),
    "ordinal, common thresholds": lambda: pv.Ordinal(
        5, given=2, net=small, classes=4, gaps=torch.ones(5, 2)
    ),
    "zero-inflated Poisson": lambda: pv.ZeroInflatedPoisson(5, given=2, net=small),
    "zero-inflated negative binomial": lambda: pv.ZeroInflatedNegativeBinomial(
        5, given=2, net=small
    ),
    "gamma-Poisson": lambda: pv.GammaPoisson(5, given=2, net=small, dispersion="free"),
    "zero-inflated gamma-Poisson": lambda: pv.ZeroInflatedGammaPoisson(5, given=2, net=small),
    "multinomial": lambda: pv.Multinomial(5, given=2, net=small, total_count=20),
    "Dirichlet-multinomial": lambda: pv.DirichletMultinomial(5, given=2, net=small, total_count=20),
    "columns": lambda: pv.Columns(
        {
            "a": (pv.Normal, 2),
            "b": (pv.Categorical, {"classes": 3}),
            "c": pv.Poisson,
            "d": pv.Gamma,
        },
        2,
        small,
    ),
    "missing": lambda: pv.missing(pv.Normal(5, given=2, net=small)),
    "missing columns": lambda: pv.missing(
        pv.Columns([(pv.Normal, 2), (pv.Gamma, 2), pv.Bernoulli], 2, small)
    ),
    "missing mixture": lambda: pv.missing(pv.Mixture(pv.Normal, 5, 2, small, components=3)),
}


class Loss(nn.Module):
    """-log p(x, z) + log q(z | x) of one draw, on average."""

    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def forward(self, x):
        with OwnParameters(), unvalidated():
            guide = trace(self.pair.guide, (x,))
            model = trace(self.pair.model, (x,), latents=latent_values(guide))
        log_p, log_q = (
            sum(log_prob(site) for site in sample_sites(run).values()) for run in (model, guide)
        )
        return (log_q - log_p).mean()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_exported_with_any_number_of_rows_it_gives_the_same_numbers(name):
    likelihood = LIKELIHOODS[name]()
    loss = Loss(vae(likelihood, pv.Normal(2, given=5, net=pv.masked(small))))
    x = pv.simulate(loss.pair, 40)["x"].float()
    if "missing" in name:
        x = x.masked_fill(torch.rand_like(x) < 0.3, torch.nan)
    exported = torch.export.export(
        loss, (x[:7],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False
    ).module()

    for rows in (7, 3, 40):
        found = []
        for module in (loss, exported):
            torch.manual_seed(1)
            value = module(x[:rows])
            learned = [p for key, p in module.named_parameters()]
            found.append((value, torch.autograd.grad(value, learned)))
        (a, grads), (b, others) = found
        assert a.isfinite() and all(g.isfinite().all() for g in grads)
        torch.testing.assert_close(a, b)
        assert len(grads) == len(others) and sum(g.norm() for g in grads).item() == pytest.approx(
            sum(g.norm() for g in others).item(), rel=1e-4
        )


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_it_is_trained_measured_and_checked(name):
    likelihood = LIKELIHOODS[name]()
    pair = vae(likelihood, pv.Normal(2, given=5, net=pv.masked(small)))
    x = pv.simulate(pair, 60)["x"].float()
    if "missing" in name:
        x = x.masked_fill(
            (torch.rand_like(x) < 0.3) & torch.tensor([True] * 4 + [False]), torch.nan
        )

    history = pv.fit(pair, x, epochs=2, progress=False)

    assert math.isfinite(history.elbo[-1])
    assert (
        pv.diagnostics.log_evidence(pair, x, num_samples=5, progress=False).value.isfinite().all()
    )
    assert pv.check(pair, x).problems == []


# Data outside the support


def test_bounds_that_differ_from_row_to_row_are_those_of_their_row():
    def model(x, total):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Binomial(total, logits=z), obs=x)

    def guide(x, total):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    pair, total = pv.Pair(model, guide), torch.arange(9000.0) % 7
    x = total.clone()
    check_data(pair, (x, total))
    x[6000] += 1
    with pytest.raises(
        ValueError, match=r"x lies outside the support of Binomial: .*not integer from 0 to 6"
    ):
        check_data(pair, (x, total))


def test_a_support_of_whole_vectors_is_checked_by_row():
    pair = vae(pv.family(dist.Dirichlet, "concentration")(3, given=2))
    data = torch.full((9000, 3), 1 / 3)
    check_data(pair, (data,))
    data[6000, 1] = 0.5
    with pytest.raises(
        ValueError,
        match=r"x lies outside the support of Dirichlet: 0\.0111 % of its values are not simpl",
    ):
        check_data(pair, (data,))


@pytest.mark.parametrize(
    "likelihood, x, message",
    [
        (
            lambda: pv.Binomial(2, given=2, total_count=3),
            4.0,
            "not integer from 0 to 3; .*total_count=4, if they are co",
        ),
        (
            lambda: pv.Binomial(2, given=2, total_count=torch.tensor([9, 3])),
            4.0,
            "not integer from 0 to 9",
        ),
        (
            lambda: pv.DiscretisedLogistic(2, given=2, levels=4),
            4.0,
            "support of DiscretisedLogistic: 0.00556 %",
        ),
        (lambda: pv.Ordinal(2, given=2, classes=4), 4.0, "support of Ordinal: .*classes=5"),
        (lambda: pv.Multinomial(2, given=2), 0.5, "support of Multinomial: .*not a count.*Round"),
        (
            lambda: pv.VonMises(2, given=2),
            4.0,
            r"support of VonMises: .*not in \[-3.14159, 3.14159\]",
        ),
        (lambda: pv.LogitNormal(2, given=2), 4.0, r"support of LogitNormal: .*not in \[0, 1\]"),
        (
            lambda: pv.LogitNormal(2, given=2),
            1.0,
            r"log p\(x \| z\) is -inf at row 6000 .*Move them off it",
        ),
        (lambda: pv.ZeroInflatedPoisson(2, given=2), -1.0, "not a count"),
    ],
    ids=[
        "trials",
        "trials by column",
        "levels",
        "classes",
        "counts",
        "angle",
        "unit",
        "edge",
        "zeros",
    ],
)
def test_a_single_value_outside_the_support_is_found_in_any_row(likelihood, x, message):
    pair = vae(likelihood())
    data = torch.full((9000, 2), 0.5 if "Logit" in str(pair) else 1.0)
    check_data(pair, (data,))
    data[6000, 1] = x
    with pytest.raises(ValueError, match=message):
        check_data(pair, (data,))
