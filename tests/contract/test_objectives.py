"""The tables that every objective goes through."""

import math
from functools import partial

import pyro
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import Adam
from torch import nn

import pyro_vae as pv
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.traces import unvalidated
from tests.objectives.worlds import (
    CONTINUOUS,
    DISCRETE,
    DOUBLY,
    LANDING,
    LEAVE,
    SHAPED,
    WORLD,
    Tables,
    agrees,
    discrete,
    estimates,
    flat_gradient,
    learned,
    loss_of,
    parts,
    seeded,
    small,
    subsampled,
)
from tests.oracles import LinearGaussian


def gaussian_terms(pair, x):
    """E_q log p(x|z) and KL(q ‖ p) of each datum of a linear-Gaussian pair, with gradients."""
    decoder, _ = parts(pair)
    q = pair.variational(x)
    spread = (
        (decoder.weight @ q.covariance_matrix @ decoder.weight.T).diagonal(dim1=-2, dim2=-1).sum(-1)
    )
    squares = (x - decoder(q.loc)).square().sum(-1) + spread
    reconstruction = -0.5 * x.shape[1] * math.log(2 * math.pi * WORLD.s**2) - squares / (
        2 * WORLD.s**2
    )
    kl = torch.distributions.kl_divergence(
        q, torch.distributions.MultivariateNormal(0 * q.loc, torch.eye(2).to(x))
    )
    return reconstruction, kl


def expected_kernel(mean, covariance):
    """E exp(-‖a‖² / 2d) for a ~ N(mean, covariance), d = 2."""
    wide = covariance + 2 * torch.eye(2).to(mean)
    exponent = -0.5 * (mean.unsqueeze(-2) @ torch.linalg.inv(wide) @ mean.unsqueeze(-1))[..., 0, 0]
    return exponent.exp() / (wide / 2).det().sqrt()


def expected_mmd(pair, x):
    q, n = pair.variational(x), x.shape[0]
    s, eye = q.covariance_matrix[0], torch.eye(2).to(x)
    apart = 1 - torch.eye(n).to(x)
    zz = 1 / n + (apart * expected_kernel(q.loc - q.loc.unsqueeze(1), 2 * s)).sum() / n**2
    uu = 1 / n + (1 - 1 / n) * expected_kernel(0 * q.loc[0], 2 * eye)
    return zz + uu - 2 * expected_kernel(q.loc, s + eye).mean()


def elbo(pair, x):
    reconstruction, kl = gaussian_terms(pair, x)
    return (reconstruction - kl).sum()


CLOSED = {
    "elbo": (pv.EvidenceLowerBound, elbo),
    "elbo, landing": (partial(pv.EvidenceLowerBound, 3, LANDING), elbo),
    "elbo, score": (partial(pv.EvidenceLowerBound, 2, LEAVE), elbo),
    "analytic": (partial(pv.AnalyticKL, 2), elbo),
    "iwae 1": (partial(pv.ImportanceWeighted, 1, DOUBLY), elbo),
    "renyi 1": (partial(pv.Renyi, 1.0, 3, DOUBLY), elbo),
    "miwae 1": (partial(pv.MIWAE, 3, 1, DOUBLY), elbo),
    "piwae 1": (partial(pv.PIWAE, 1, 1), elbo),
    "ciwae 1": (partial(pv.CIWAE, 1.0, 3), elbo),
    "free bits, used": (partial(pv.FreeBits, 0.01, per="site"), elbo),
    "free bits, free": (
        partial(pv.FreeBits, 50.0, per="site"),
        lambda pair, x: gaussian_terms(pair, x)[0].sum() - 50.0 * x.shape[0],
    ),
    "capacity": (
        partial(pv.Capacity, 3.0, 1.0),
        lambda pair, x: (
            gaussian_terms(pair, x)[0].sum()
            - 3 * (gaussian_terms(pair, x)[1] - 1.0).mean().abs() * len(x)
        ),
    ),
    "mmd": (
        partial(pv.MMD, 20.0, alpha=0.3),
        lambda pair, x: (
            gaussian_terms(pair, x)[0]
            - 0.7 * gaussian_terms(pair, x)[1]
            - 20 * expected_mmd(pair, x)
        ).sum(),
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_value_and_gradient_in_closed_form(name):
    make, closed = CLOSED[name]
    pair = WORLD.pair(shift=0.3, stretch=1.3)
    x = WORLD.sample(5)
    losses, grads = estimates(make(), pair, x, repeats=300)
    truth = -closed(pair, x)

    assert losses.std() / 300**0.5 < 0.1 * truth.abs()
    assert agrees(losses, truth.detach())
    assert agrees(grads, flat_gradient(truth, learned(pair)))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_exact_posterior(name):
    """All weights are equal. Any bound is log p(x), and so is its gradient for the model."""
    bound, pair, x = CONTINUOUS[name](), WORLD.pair(), WORLD.sample(5)
    decoder, _ = parts(pair)
    truth = -LinearGaussian(decoder.weight, decoder.bias, WORLD.s).log_evidence(x).sum()
    losses, grads = estimates(bound, pair, x, repeats=200)
    size = sum(p.numel() for p in decoder.parameters())
    assert [id(p) for p in learned(pair)[:2]] == [id(p) for p in decoder.parameters()]

    if name != "analytic":
        assert torch.allclose(losses, truth.detach(), rtol=1e-10)
    assert agrees(losses, truth.detach())
    assert agrees(grads[:, :size], flat_gradient(truth, list(decoder.parameters())))
    assert agrees(grads[:, size:], torch.zeros(()))
    if "doubly" in name or name == "landing":
        assert grads[:, size:].abs().max() < 1e-9
    else:
        assert grads[:, size:].abs().max() > 1e-3


def test_subsampled_plate_with_the_posterior_is_exact():
    x = WORLD.sample(1).repeat(20, 1)
    pair = subsampled(3)
    for name in CONTINUOUS.keys() - {"analytic"}:
        loss = loss_of(CONTINUOUS[name](), pair, x)
        assert -loss.item() == pytest.approx(WORLD.log_evidence(x).sum().item(), rel=1e-9)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_gradient_by_enumeration(name):
    pair = Tables()
    x, copies = torch.arange(4).repeat(250), 250
    losses, grads = (e / copies for e in estimates(DISCRETE[name](), pair, x, repeats=60))
    truth = -pair.expected(name)

    assert agrees(losses, -pair.expected("iwae" if name == "wake" else name).detach())
    exact = flat_gradient(truth, learned(pair))
    assert exact.abs().max() > 20 * (grads.std(0) / 60**0.5).max()
    assert agrees(grads, exact)


@pytest.mark.parametrize(
    "name", [n for n in {**CONTINUOUS, **SHAPED} if n not in ("iwae score", "vimco", "wake")]
)
def test_discrete_latents_are_refused_without_a_gradient_for_them(name):
    with pytest.raises(
        ValueError, match=r"latent 'z' \(Bernoulli\) has no reparametrised draws.*pv\.VIMCO"
    ):
        loss_of({**CONTINUOUS, **SHAPED}[name](), discrete(), torch.ones(4, 5))


def pairs():
    for makes, make_pair in ((CONTINUOUS, small), (DISCRETE, discrete), (SHAPED, small)):
        for name, make in makes.items():
            yield pytest.param(make, make_pair, id=f"{name}, {make_pair.__name__}")


@pytest.mark.parametrize(("make", "make_pair"), [*pairs()])
def test_trains_under_svi_and_objective(make, make_pair):
    x = torch.rand(6, 5).round()
    pair = make_pair()
    before = [p.detach().clone() for p in learned(pair)]
    svi = SVI(pair.model, pair.guide, Adam({"lr": 1e-2}), loss=make())
    assert all(math.isfinite(svi.step(x)) for _ in range(3))
    assert math.isfinite(svi.evaluate_loss(x))
    assert all(not torch.equal(p, b) for p, b in zip(learned(pair), before) if p.numel())

    pyro.clear_param_store()
    pair = make_pair()
    before = [p.detach().clone() for p in learned(pair)]
    objective = pv.Objective(pair, make())
    optim = torch.optim.Adam(pair.parameters(), lr=1e-2)
    for _ in range(3):
        optim.zero_grad()
        loss = objective(x)
        loss.backward()
        optim.step()
        assert loss.isfinite()
    assert all(not torch.equal(p, b) for p, b in zip(learned(pair), before))
    assert not list(pyro.get_param_store().keys())


class Loss(nn.Module):
    def __init__(self, bound, pair):
        super().__init__()
        self.bound, self.pair = bound, pair

    def forward(self, x):
        return self.bound.differentiable_loss(self.pair.model, self.pair.guide, x)


@pytest.mark.parametrize(("make", "make_pair"), [*pairs()])
def test_exports_with_a_symbolic_batch(make, make_pair):
    pair = make_pair()
    loss = Loss(make(), pair)
    with OwnParameters(), unvalidated():
        exported = torch.export.export(
            loss,
            (torch.rand(6, 5).round(),),
            dynamic_shapes=({0: torch.export.Dim("n", min=2)},),
            strict=False,
        ).module()
        x = torch.rand(9, 5).round()
        theirs = seeded(lambda: exported(x))
        eager = seeded(lambda: loss(x))

        assert torch.equal(theirs, eager)
        ours, traced = (
            flat_gradient(eager, learned(pair)),
            flat_gradient(theirs, learned(exported.pair)),
        )
    torch.testing.assert_close(traced, ours, rtol=1e-5, atol=1e-6)
    assert ours.abs().max() > 0


def test_each_says_what_it_bounds():
    made = {name: make() for name, make in {**CONTINUOUS, **DISCRETE, **SHAPED}.items()}
    none = {name for name, bound in made.items() if bound.bound is None}
    assert none == {
        name for name in made if name.startswith(("renyi neg", "capacity", "total", "mmd"))
    }
    assert {bound.bound for bound in made.values()} == {"lower", None}
