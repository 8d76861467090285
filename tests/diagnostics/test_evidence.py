import math

import torch

from pyro_vae.diagnostics import elbo, grid_posterior, log_evidence
from pyro_vae.diagnostics.evidence import estimate_evidence
from pyro_vae.weights import blocks
from tests.oracles import linear_gaussian


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
    many = [log_evidence(pair, x, num_samples=2000) for _ in range(200)]
    spread = torch.stack([m.value for m in many]).std(0)
    claimed = torch.stack([m.stderr for m in many]).square().mean(0).sqrt()
    noise = 5 / math.sqrt(2 * 200)
    assert (spread / claimed - 1).max() < noise
    # k̂ is noisy, and some errors are widened though the weights are light
    assert (claimed / spread).max() < 2


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


def test_a_single_draw_has_no_finite_error():
    assert estimate_evidence(torch.zeros(1, 3)).stderr.isinf().all()
