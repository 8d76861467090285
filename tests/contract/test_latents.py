"""Pairs with every kind of latent are exported once for every batch size."""

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.traces import latent_values, log_prob, sample_sites, trace, unvalidated

REAL = (pv.StandardNormal, pv.Normal)

LATENTS = {
    "mixture": (pv.StandardNormal, lambda **kw: pv.Mixture(pv.Normal, 3, components=2, **kw)),
    "full mixture": (lambda n: pv.Mixture(pv.MultivariateNormal, n, components=2), REAL[1]),
    "IAF": (pv.StandardNormal, lambda **kw: pv.Flow(3, flow=pv.IAF, transforms=1, **kw)),
    "couplings": (lambda n: pv.Flow(n, passes=2, transforms=1), REAL[1]),
    "autoregressive": (lambda n: pv.Autoregressive(pv.Normal, n), REAL[1]),
    "autoregressive q": (pv.Bernoulli, lambda **kw: pv.Autoregressive(pv.Bernoulli, 3, **kw)),
    "categorical": (
        lambda n: pv.Autoregressive(pv.Categorical, n, classes=4),
        lambda **kw: pv.Categorical(3, classes=4, **kw),
    ),
    "power spherical": (pv.UniformSphere, pv.PowerSpherical),
    "von Mises-Fisher": (pv.UniformSphere, pv.VonMisesFisher),
    "Dirichlet": (pv.Dirichlet, pv.Dirichlet),
    "logistic-normal": (pv.Dirichlet, pv.LogisticNormal),
    "relaxed": (
        lambda n: pv.RelaxedCategorical(n, temperature=0.7),
        lambda **kw: pv.RelaxedCategorical(3, temperature=0.5, **kw),
    ),
    "relaxed Bernoulli": (
        lambda n: pv.RelaxedBernoulli(n, temperature=0.7),
        lambda **kw: pv.RelaxedBernoulli(3, temperature=0.5, **kw),
    ),
    "one-hot": (pv.OneHotCategorical, pv.OneHotCategorical),
    "Vamp": (None, REAL[1]),
    "Aggregate": (None, REAL[1]),
}


class Loss(nn.Module):
    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def forward(self, x):
        guide = trace(self.pair.guide, (x,), draws=2)
        model = trace(self.pair.model, (x,), draws=2, latents=latent_values(guide))
        log_p = sum(log_prob(site) for site in sample_sites(model).values())
        return (sum(log_prob(site) for site in sample_sites(guide).values()) - log_p).mean()


def with_latent(name):
    prior, variational = LATENTS[name]
    q = variational(given=4) if name not in SHAPED else variational(3, given=4)
    if name == "Vamp":
        p = pv.Vamp(q, 5, learned_weights=True)
    elif name == "Aggregate":
        p = pv.Aggregate(q, torch.randn(5, 4))
    else:
        p = prior(3)
    return pv.VAE(prior=p, likelihood=pv.Bernoulli(4, given=3), variational=q)


SHAPED = {
    "full mixture", "couplings", "autoregressive", "power spherical", "von Mises-Fisher",
    "Dirichlet", "logistic-normal", "one-hot", "Vamp", "Aggregate",
}  # fmt: skip


@pytest.mark.parametrize("name", LATENTS)
def test_a_pair_is_exported_once_for_every_batch_size(name):
    loss = Loss(with_latent(name))
    batch = torch.export.Dim("batch", min=2, max=4096)
    with OwnParameters(), unvalidated():
        exported = torch.export.export(
            loss, (torch.ones(6, 4),), strict=False, dynamic_shapes=({0: batch},)
        ).module()
        for n in (2, 6, 11):
            x = torch.bernoulli(torch.full((n, 4), 0.5))
            torch.manual_seed(1)
            eager = loss(x)
            torch.manual_seed(1)
            torch.testing.assert_close(exported(x), eager)
    eager.backward()
    learned = [w for w in loss.parameters() if w.requires_grad]
    assert all(w.grad is not None and w.grad.isfinite().all() for w in learned)


@pytest.mark.parametrize("name", ["power spherical", "Dirichlet", "Gamma", "StudentT", "Beta"])
def test_the_gradients_of_gamma_draws_are_traced_too(name):
    if name in LATENTS:
        vae = with_latent(name)
    else:
        family = getattr(pv, name)
        vae = pv.VAE(
            prior=family(3), likelihood=pv.Bernoulli(4, given=3), variational=family(3, given=4)
        )
    loss, x = Loss(vae), torch.bernoulli(torch.full((6, 4), 0.5))
    batch = torch.export.Dim("batch", min=2, max=4096)
    with OwnParameters(), unvalidated():
        exported = torch.export.export(
            loss, (x,), strict=False, dynamic_shapes=({0: batch},)
        ).module()
        traced = torch.compile(exported, backend="aot_eager", dynamic=True)
        values, gradients = [], []
        for run in (loss, traced):
            torch.manual_seed(1)
            values.append(run(x))
            values[-1].backward()
            gradients.append([w.grad.clone() for w in loss.parameters()])
            loss.zero_grad()
            for w, e in zip(loss.parameters(), exported.parameters()):
                w.grad, e.grad = None, None
    torch.testing.assert_close(*values)
    for eager, compiled in zip(*gradients):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)
