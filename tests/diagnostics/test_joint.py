import importlib
import json
import math

import pytest
import torch

from pyro_vae.diagnostics import joint_kl, log_evidence
from pyro_vae.diagnostics.estimate import Estimate
from tests.oracles import discrete_world, kl_of_tables, linear_gaussian, near, normal_pair

module = importlib.import_module("pyro_vae.diagnostics.joint")

FIELDS = ("total", "posterior", "evidence", "marginal", "likelihood")


def estimates(found):
    return [getattr(found, name) for name in FIELDS]


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [0, 0, 1, 3, 3, 3, 4], [2]])
def test_in_the_discrete_world_everything_is_exact(rows):
    world = discrete_world()
    x = torch.tensor(rows)
    p_d = torch.bincount(x, minlength=5).double() / len(x)
    q = p_d[:, None] * world.q_z_given_x  # [x, z]
    p = (world.p_z[:, None] * world.p_x_given_z).T
    q_z, p_x = q.sum(0), p.sum(1)

    found = joint_kl(world.pair(), x)
    kl = kl_of_tables
    posterior = sum(p_d[i].item() * kl(world.q_z_given_x[i], p[i] / p_x[i]) for i in range(5))
    likelihood = sum(q_z[j].item() * kl(q[:, j] / q_z[j], world.p_x_given_z[j]) for j in range(3))
    truth = (kl(q, p), posterior, kl(p_d, p_x), kl(q_z, world.p_z), likelihood)
    for estimate, value in zip(estimates(found), truth, strict=True):
        assert abs(estimate.value - value) < 1e-9 and estimate.stderr == 0
    assert abs(found.total.value - found.posterior.value - found.evidence.value) < 1e-9
    assert abs(found.total.value - found.marginal.value - found.likelihood.value) < 1e-9
    assert all(estimate.value > -1e-12 for estimate in estimates(found))
    assert "KL(p_D ‖ p(x))" in str(found)


def test_sampling_agrees_with_the_tables(monkeypatch):
    world = discrete_world()
    x = torch.tensor([0, 0, 1, 3, 3, 3, 4])
    exact = joint_kl(world.pair(), x)
    monkeypatch.setattr(module, "enumerate_latent", lambda pair, data: None)
    found = joint_kl(world.pair(), x, num_samples=4000)
    for estimate, truth in zip(estimates(found), estimates(exact), strict=True):
        assert estimate.stderr > 0 and near(estimate, truth.value)


def test_impossible_values_of_a_discrete_latent_count_nothing():
    world = discrete_world()
    q = torch.eye(3).double()[torch.tensor([0, 0, 1, 1, 2])]
    found = joint_kl(world._replace(q_z_given_x=q).pair(), torch.tensor([0, 2, 4]))
    assert all(math.isfinite(estimate.value) for estimate in estimates(found))


def test_joint_factorings_in_the_linear_gaussian_world():
    world = linear_gaussian(d=2)
    x = world.sample(100)
    pair = world.pair(shift=0.3, stretch=1.2)
    mean = (x - world.b) @ world.to_mean.T + 0.3
    gap = world.gap(x, mean, 1.44 * world.covariance).mean().item()
    found = joint_kl(pair, x, num_samples=100, log_evidence=world.log_evidence(x))
    assert found.evidence.stderr == 0
    assert abs(found.evidence.value + math.log(100) + world.log_evidence(x).mean().item()) < 1e-9
    assert near(found.posterior, gap)
    for left, right in ((found.posterior, found.evidence), (found.marginal, found.likelihood)):
        assert abs(left.value + right.value - found.total.value) < 1e-9
    by_sampling = joint_kl(pair, x)
    assert near(by_sampling.posterior, gap) and near(by_sampling.evidence, found.evidence.value)
    with pytest.raises(
        ValueError, match=r"log_evidence: expected log p\(x\) per datum, shape \[100\]"
    ):
        joint_kl(pair, x, log_evidence=torch.zeros(3))


def test_an_estimate_of_the_evidence_brings_its_error():
    world = linear_gaussian(d=2)
    x = world.sample(20)
    pair = world.pair(shift=0.3)
    log_p = log_evidence(pair, x, num_samples=100)
    found = joint_kl(pair, x, log_evidence=log_p)
    noise = log_p.stderr.square().sum().sqrt().item() / 20
    assert found.evidence.stderr == noise
    assert found.posterior.stderr == math.hypot(noise, found.total.stderr)
    with pytest.raises(ValueError, match="log_evidence: expected"):
        joint_kl(pair, x, log_evidence=Estimate(log_p.value, torch.zeros(3)))


def test_equal_rows_are_one_value_of_x():
    pair = normal_pair(torch.eye(2), 0.5)
    x = torch.randn(6, 2)
    twice = joint_kl(pair, x.repeat(2, 1), log_evidence=torch.zeros(12))
    once = joint_kl(pair, x, log_evidence=torch.zeros(6))
    assert twice.evidence.value == pytest.approx(-math.log(6))
    assert once.evidence.value == pytest.approx(-math.log(6))


def test_blocks_give_what_one_piece_gives(monkeypatch):
    pair = normal_pair(torch.tensor([[1.0, 0.5], [1.0, -0.2]]), 0.4)
    x = torch.randn(30, 2)
    torch.manual_seed(1)
    whole = joint_kl(pair, x, num_samples=7)
    monkeypatch.setattr("pyro_vae.diagnostics.aggregate.TABLE", 50)
    torch.manual_seed(1)
    found = joint_kl(pair, x, num_samples=7)
    for a, b in zip(estimates(found), estimates(whole), strict=True):
        assert abs(a.value - b.value) < 1e-9 and abs(a.stderr - b.stderr) < 1e-9


def test_numbers_for_a_json_file():
    pair = normal_pair(torch.eye(2), 0.5)
    notes = json.loads(json.dumps(joint_kl(pair, torch.randn(20, 2)).as_dict()))
    assert set(notes["posterior"]) == {"value", "stderr"}


def test_of_one_datum_the_sums_hold():
    found = joint_kl(normal_pair(torch.eye(2), 0.5), torch.ones(1, 2))
    assert abs(found.posterior.value + found.evidence.value - found.total.value) < 1e-9
