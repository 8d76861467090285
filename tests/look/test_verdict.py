import dataclasses

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import picture
from pyro_vae.look.verdict import judge, score_independent
from tests.oracles import linear_gaussian


@pytest.fixture(scope="module")
def seen():
    """A picture of a pair that is right."""
    torch.manual_seed(0)
    world = linear_gaussian()
    return picture(world.pair(shift=0.1), world.sample(50), num_samples=200)


def test_the_score_is_that_of_coins_with_the_means_of_the_training_data():
    train = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    coins = torch.distributions.Bernoulli(probs=torch.tensor([1.5 / 4, 3.5 / 4]))
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert torch.allclose(score_independent(train, x), coins.log_prob(x).sum(1))


def test_what_predicts_better_than_independent_entries_worked(seen):
    said = judge(seen, seen.elbo.value - 2.0)
    gap = seen.gap.value.mean().item()
    assert said.startswith("It worked: new data are predicted 2.00 ± 0.00 nats better")
    assert f"{gap:.2f} nats from the posterior, {50 * gap:.0f} % of that" in said
    assert f"of {len(seen.latents.active)} dimensions of z are in use" in said


def test_what_is_not_clearly_better_did_not_work(seen):
    noise = torch.linspace(-1, 1, len(seen.elbo.value))
    for gain in (-1.0, 0.0, noise.std() / 50**0.5):
        assert judge(seen, seen.elbo.value - gain - noise).startswith("It did not work: new data")


def test_without_a_yardstick_it_ran(seen):
    assert judge(seen).startswith("It ran: ") and "It worked" not in judge(seen)


def test_a_number_that_is_not_finite_did_not_work(seen):
    value = seen.elbo.value.clone()
    value[3:5] = torch.nan
    lost = dataclasses.replace(seen, elbo=dataclasses.replace(seen.elbo, value=value))
    assert judge(lost, value) == "It did not work: log p(x) is not finite for 2 of 50 data."


def test_a_z_that_is_not_used_did_not_work(seen):
    asleep = dataclasses.replace(seen.latents, active=torch.zeros(2, dtype=torch.bool))
    said = judge(dataclasses.replace(seen, latents=asleep), seen.elbo.value - 2.0)
    assert said.startswith("It did not work: no dimension of z is in use")


def test_a_gap_that_comes_out_too_low_is_at_least_that(seen):
    narrow = dataclasses.replace(seen.evidence, khat=torch.full((50,), 0.9))
    said = judge(dataclasses.replace(seen, evidence=narrow, latents=None))
    assert "q(z|x) is at least " in said and "dimensions" not in said


def test_a_pair_that_is_trained_on_digits_says_so():
    digits = pv.data.load("digits")
    x = pv.data.binarise(digits.test)
    torch.manual_seed(0)
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli((1, 8, 8), given=2),
        variational=pv.Normal(2, given=(1, 8, 8)),
    )
    independent = score_independent(digits.train, x)
    assert judge(picture(vae, x, num_samples=20), independent).startswith("It did not work")

    pv.fit(vae, digits.train, epochs=30, transform=torch.bernoulli, seed=0)
    assert judge(picture(vae, x, num_samples=20), independent).startswith("It worked")
