"""Semi-amortised variationals."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss
from tests.oracles import linear_gaussian

Q = pv.Normal(2, given=3)


def test_a_refined_variational_cannot_be_compiled():
    q = pv.Refined(pv.Normal(2, given=3), pv.StandardNormal(2), pv.Normal(3, given=2), steps=1)
    compiled = CompiledLoss(lambda z, x: -q(x).log_prob(z).mean(), [q], backend="eager")

    with pytest.raises(
        RuntimeError, match=r"cannot be compiled: .*Refined\(\(2,\) \| \(3,\).* takes gradients"
    ):
        compiled(torch.zeros(6, 2), torch.randn(6, 3))
    assert "cannot be exported" in " ".join(pv.Refined.__doc__.split())


def test_steps_on_the_elbo_close_the_amortisation_gap():
    world = linear_gaussian(d=2)
    x = world.sample(50)
    pair = world.pair(shift=1.0)

    def gap(steps):
        q = pair.variational
        if steps:
            q = pv.Refined(
                q, pair.prior, pair.likelihood, steps, learning_rate=0.05, num_particles=8
            )
        vae = pv.VAE(prior=pair.prior, likelihood=pair.likelihood, variational=q)
        elbo = pv.diagnostics.elbo(vae, x, num_samples=200, progress=False)
        gap = world.log_evidence(x) - elbo.value
        return gap.mean().item(), elbo.stderr.square().sum().sqrt().item() / len(x)

    (none, error), (few, _), (many, _) = gap(0), gap(5), gap(60)
    exact = (
        world.gap(x, pair.variational(x).mean, pair.variational(x).covariance_matrix).mean().item()
    )
    assert abs(none - exact) < 5 * error
    assert few < 0.9 * none and many < 0.1 * none and many > -5 * error


def test_a_refined_q_trains_its_encoder_and_leaves_the_rest_alone():
    prior, likelihood = pv.StandardNormal(2), pv.Normal(3, given=2)
    encoder = pv.Normal(2, given=3)
    q = pv.Refined(encoder, prior, likelihood, steps=3)
    x = torch.randn(20, 3)
    with torch.no_grad():
        start, end = encoder(x), q(x)
    moved = (end.base_dist.loc - start.base_dist.loc).norm(dim=-1)
    assert (moved > 0).all() and (moved <= 3 * 0.1 + 1e-5).all()

    q(x).rsample().sum().backward()
    assert all(w.grad is not None for w in encoder.parameters())
    assert all(w.grad is None for w in likelihood.parameters())

    vae = pv.VAE(prior=prior, likelihood=likelihood, variational=q)
    history = pv.fit(vae, x.repeat(10, 1), epochs=3, batch_size=50, seed=0, progress=False)
    assert torch.tensor(history.loss).isfinite().all()


MISUSES = {
    "a refined flow": (
        lambda: pv.Refined(pv.Flow(2, given=3), pv.StandardNormal(2), pv.Normal(3, given=2), 5),
        TypeError,
        r"variational: expected a family given x alone, .*got Flow",
    ),
    "a refined coin": (
        lambda: pv.Refined(pv.Bernoulli(2, given=3), pv.Bernoulli(2), pv.Normal(3, given=2), 5),
        ValueError,
        "variational: Bernoulli has no reparametrised draws",
    ),
    "no steps": (
        lambda: pv.Refined(Q, pv.StandardNormal(2), pv.Normal(3, given=2), 0),
        ValueError,
        "steps: expected a positive whole number, got 0",
    ),
    "no rate": (
        lambda: pv.Refined(Q, pv.StandardNormal(2), pv.Normal(3, given=2), 5, learning_rate=0),
        ValueError,
        "learning_rate: expected a positive number, got 0",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
