import json
import math

import pytest
import torch
from oracles import linear_gaussian, within

import pyro_vae as pv
from pyro_vae.diagnostics import elbo, grid_posterior, log_evidence, picture
from pyro_vae.diagnostics.evidence import evidence_of, pareto_khat
from pyro_vae.weights import blocks


@pytest.mark.parametrize("shift, stretch", [(0.3, 1.0), (0.0, 1.5), (0.1, 0.95)])
def test_with_a_wrong_variational_the_gap_is_the_closed_form(shift, stretch):
    world = linear_gaussian()
    x = world.sample(40)
    pair = world.pair(shift, stretch)
    truth = world.log_evidence(x)
    mean = (x - world.b) @ world.to_mean.T + shift
    gap = world.gap(x, mean, stretch**2 * world.covariance)

    e = elbo(pair, x, num_samples=4000)
    assert within(truth - e.value, gap, e.stderr)
    assert within(e.reconstruction - e.kl, e.value, torch.zeros(()))
    kl = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(mean, stretch**2 * world.covariance),
        torch.distributions.MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()),
    )
    assert within(e.kl, kl, e.kl_stderr)

    seen = picture(pair, x, num_samples=4000)
    assert within(seen.evidence.value, truth, seen.evidence.stderr)
    assert within(seen.gap.value, gap, seen.gap.stderr)
    assert (seen.gap.value >= 0).all()
    assert (seen.evidence.value - seen.elbo.value - seen.gap.value).abs().max() < 1e-9


def test_with_the_posterior_the_picture_has_no_gap_and_no_error():
    world = linear_gaussian()
    seen = picture(world.pair(), world.sample(10), num_samples=100)
    assert seen.gap.value.abs().max() < 1e-9
    assert seen.evidence.stderr.max() < 1e-6
    assert (seen.evidence.ess - 100).abs().max() < 1e-6
    assert all(
        "log N" in warning for warning in seen.warnings()
    )  # ten data tell no more than log 10 nats


def test_on_digits_it_agrees_with_a_grid(trained):
    vae, x = trained
    found, grid = log_evidence(vae, x, num_samples=5000), grid_posterior(vae, x, size=150)
    assert grid.outside.max() < 1e-3
    assert (found.value - grid.log_evidence).abs().mean() < 0.05
    e = elbo(vae, x, num_samples=1000)
    assert (grid.log_evidence - e.value - grid.gap).abs().mean() < 0.02


def test_standard_errors_are_what_they_say():
    world = linear_gaussian()
    x = world.sample(5)
    pair = world.pair(0.2)
    many = [log_evidence(pair, x, num_samples=200) for _ in range(200)]
    spread = torch.stack([m.value for m in many]).std(0)
    claimed = torch.stack([m.stderr for m in many]).square().mean(0).sqrt()
    assert (spread / claimed - 1).abs().max() < 5 / math.sqrt(2 * 200)


def test_chunks_give_what_one_piece_gives(monkeypatch):
    world = linear_gaussian()
    x = world.sample(7)
    truth = world.log_evidence(x)
    decoded, encoded = [], []
    log_joint, pair = blocks.score_joint, world.pair()
    guide = pair.guide
    monkeypatch.setattr(
        blocks, "score_joint", lambda *a, **kw: decoded.append(a[2]) or log_joint(*a, **kw)
    )
    monkeypatch.setattr(pair, "guide", lambda x: encoded.append(x.shape[0]) or guide(x))
    monkeypatch.setattr(blocks, "KEPT", 300)
    monkeypatch.setattr(blocks, "DECODED", {"cpu": 100})
    found = log_evidence(pair, x, num_samples=50)
    assert found.value.shape == (7,) and len(decoded) > 7
    rows = encoded[-2]
    assert max(decoded) * x[0].numel() * rows <= 100
    assert sum(encoded[-math.ceil(7 / rows) :]) == 7 and len(encoded) < len(decoded), (
        "encoded once, decoded in pieces"
    )
    assert (found.value - truth).abs().max() < 1e-9


@pytest.mark.parametrize("k", [-0.2, 0.3, 0.6, 1.0])
def test_khat_finds_the_shape_of_pareto_weights(k):
    u = torch.rand(20_000, 30, dtype=torch.float64)
    weights = (u**-k - 1) / k + 1e-3 if k else -u.log()
    found = pareto_khat(weights.log())
    assert abs(found.mean() - k) < 5 * found.std() / 30**0.5 + 0.05


def test_khat_without_a_tail():
    assert pareto_khat(torch.zeros(100, 2)).tolist() == [0, 0]
    assert pareto_khat(torch.randn(10, 2)).isnan().all()


def test_khat_of_gaussians_follows_their_ratio():
    z = 0.5 * torch.randn(100_000, 20, dtype=torch.float64)
    log_w = torch.distributions.Normal(0.0, 1.0).log_prob(z) - torch.distributions.Normal(
        0.0, 0.5
    ).log_prob(z)
    assert abs(pareto_khat(log_w).mean() - 0.75) < 0.1


def test_a_single_draw_has_no_finite_error():
    assert evidence_of(torch.zeros(1, 3)).stderr.isinf().all()


@pytest.mark.parametrize(
    "fault, said",
    [({"shift": 3.0}, "effective samples"), ({"stretch": 0.4}, "q(z|x) is too narrow")],
)
def test_planted_faults_are_reported(fault, said):
    world = linear_gaussian()
    seen = picture(world.pair(**fault), world.sample(20), num_samples=1000)
    assert any(said in warning for warning in seen.warnings())
    assert "warning" in str(seen)


def test_a_collapsed_latent_shows_as_no_information():
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2, net=lambda given, out: _Constant(out)),
        variational=pv.Normal(
            2, given=3, loc=0.0, net=lambda given, out: _Constant(out, math.log(math.e - 1))
        ),
    )
    seen = picture(vae, torch.bernoulli(torch.full((20, 3), 0.5)), num_samples=100)
    assert seen.elbo.kl.abs().max() < 1e-6
    assert (seen.evidence.value + 3 * math.log(2)).abs().max() < 1e-5


class _Constant(torch.nn.Module):
    def __init__(self, out, value=0.0):
        super().__init__()
        self.value = torch.nn.Parameter(torch.full(out, value))

    def forward(self, x):
        return self.value.expand(len(x), *self.value.shape)


def test_a_grid_refuses_more_than_two_dimensions():
    world = linear_gaussian()
    with pytest.raises(ValueError, match="one or two dimensions"):
        grid_posterior(world.pair(), world.sample(3))


@pytest.mark.parametrize("d", [1, 2])
def test_the_grid_is_the_posterior(d):
    world = linear_gaussian(d=d)
    x = world.sample(10)
    grid = grid_posterior(world.pair(0.1, 1.2), x, size=150)
    assert (grid.log_evidence - world.log_evidence(x)).abs().max() < 1e-4
    mean = (x - world.b) @ world.to_mean.T + 0.1
    assert (grid.gap - world.gap(x, mean, 1.44 * world.covariance)).abs().max() < 1e-3


def test_the_picture_prints_and_serialises(trained):
    vae, x = trained
    seen = picture(vae, x[:20], num_samples=200)
    text = str(seen)
    assert "log p(x)" in text and "KL(q(z|x) ‖ p(z|x))" in text and "±" in text
    notes = seen.as_dict()
    assert notes["data"] == 20 and set(notes["terms"]) == set(seen.rows())


def test_a_picture_of_one_datum_prints_and_is_json(trained):
    vae, x = trained
    seen = picture(vae, x[:1], num_samples=50)
    assert "means over 1 data" in str(seen)
    notes = json.loads(json.dumps(seen.as_dict(), allow_nan=False))
    assert (
        notes["terms"]["ELBO"]["stderr_over_data"] is None and notes["terms"]["ELBO"]["stderr"] > 0
    )
