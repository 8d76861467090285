"""Draws from a pair, and draws of z decoded."""

import numpy as np
import pytest
import torch

import pyro_vae as pv
from tests.oracles import linear_gaussian


def test_simulated_data_have_the_moments_of_the_model():
    world = linear_gaussian(d=2, n=3)
    drawn = pv.simulate(world.pair(), 20_000)
    assert drawn["z"].shape == (20_000, 2) and drawn["x"].shape == (20_000, 3)
    covariance = world.w @ world.w.T + world.s**2 * torch.eye(3)
    stderr = (
        covariance.diagonal()[:, None] * covariance.diagonal() + covariance**2
    ).sqrt() / 20_000**0.5
    assert ((drawn["x"].T.cov() - covariance).abs() < 5 * stderr).all()
    assert (
        (drawn["x"].mean(0) - world.b).abs() < 5 * (covariance.diagonal() / 20_000).sqrt()
    ).all()


def test_a_template_gives_as_many_as_it_has_rows_and_its_values_do_not_count():
    pair = linear_gaussian().pair()
    torch.manual_seed(1)
    first = pv.simulate(pair, torch.zeros(4, 6).double())
    torch.manual_seed(1)
    second = pv.simulate(pair, torch.full((4, 6), 9.0).double())
    assert torch.equal(first["x"], second["x"]) and first["x"].shape == (4, 6)


def test_means_are_decoded():
    world = linear_gaussian()
    pair = world.pair()
    seen = pv.reconstruct(pair, world.sample(5))
    assert torch.allclose(seen["x"], seen["z"] @ world.w.T + world.b)
    z = torch.randn(5, 3).double()
    assert torch.equal(pv.reconstruct(pair, world.sample(5), at={"z": z})["z"], z)


def ladder():
    return pv.HierarchicalVAE(
        priors=[pv.StandardNormal(2), pv.Normal(4, given=2)],
        likelihood=pv.Normal(3, given=4),
        variationals=[pv.Normal(4, given=3), pv.Normal(2, given=4)],
    )


def test_what_is_not_named_is_drawn_from_the_model():
    z2 = torch.randn(5, 2)
    drawn = pv.reconstruct(ladder(), torch.zeros(5, 3), at={"z2": z2})
    assert torch.equal(drawn["z2"], z2) and drawn["z1"].shape == (5, 4)


def test_values_may_be_lists():
    drawn = pv.reconstruct(world_vae(), np.zeros((2, 3)), at={"z": [[0.0, 1.0], [2.0, 3.0]]})
    assert drawn["z"].tolist() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ({"typo": torch.zeros(5, 2)}, r"at: expected values of 'z', got \['typo'\]"),
        ({"x": torch.zeros(5, 3)}, r"at: expected values of 'z', got \['x'\]"),
        ({}, "at: expected values of 'z', got none"),
        ({"z": torch.zeros(5, 3)}, r"at\['z'\]: expected shape \(5, 2\), got \(5, 3\)"),
        ({"z": torch.zeros(4, 2)}, r"at\['z'\]: expected shape \(5, 2\), got \(4, 2\)"),
    ],
)
def test_values_of_no_latent_are_refused(at, words):
    with pytest.raises(ValueError, match=words):
        pv.reconstruct(world_vae(), torch.zeros(5, 3), at=at)


def world_vae():
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2),
        variational=pv.Normal(2, given=3),
    )


def test_a_family_without_a_mean_gives_a_draw():
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Categorical(3, given=2, classes=4),
        variational=pv.Normal(2, given=3),
    )
    x = pv.simulate(vae, 50, mean=True)["x"]
    assert set(x.unique().tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize("bad", [0, -3])
def test_the_number_of_draws_is_positive(bad):
    with pytest.raises(ValueError, match="data: expected a positive whole number"):
        pv.simulate(linear_gaussian().pair(), bad)


def test_a_hand_written_pair_needs_a_template():
    with pytest.raises(ValueError, match="template"):
        pv.simulate(pv.Pair(lambda x: None, lambda x: None), 3)
