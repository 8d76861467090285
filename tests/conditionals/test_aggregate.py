"""Vamp and Aggregate: the average of the variational."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import pyro_vae as pv

Q = pv.Normal(2, given=3)


def test_a_vamp_is_the_average_over_its_pseudo_inputs():
    q, u, z = pv.Normal(2, given=(1, 3)), torch.randn(4, 1, 3), torch.randn(7, 2)
    prior = pv.Vamp(q, u)

    truth = torch.stack([q(row).log_prob(z) for row in u]).logsumexp(0) - math.log(4)

    torch.testing.assert_close(prior().log_prob(z), truth)
    assert prior.variational is q and isinstance(prior.pseudo_inputs, nn.Parameter)


@pytest.mark.parametrize("kind", [np.asarray, torch.Tensor.tolist])
def test_pseudo_inputs_may_be_an_array_or_a_list(kind):
    u = torch.randn(4, 3)
    assert torch.equal(pv.Vamp(Q, kind(u)).pseudo_inputs, u)
    assert pv.Vamp.from_data(Q, kind(u), components=4).pseudo_inputs.shape == (4, 3)
    assert torch.equal(pv.Aggregate(Q, kind(u)).x, u)


def test_a_vamp_of_one_standard_normal_is_the_standard_normal():
    q, z = pv.Normal(2, given=3, scale=1.0), torch.randn(7, 2)
    for w in q.parameters():
        nn.init.zeros_(w)

    torch.testing.assert_close(
        pv.Vamp(q, torch.randn(1, 3))().log_prob(z), pv.StandardNormal(2)().log_prob(z)
    )


def test_free_pseudo_inputs_start_as_published_and_are_clipped_where_they_are_used():
    q = pv.Normal(2, given=(3, 50))
    prior = pv.Vamp(q, 200)
    u = prior.pseudo_inputs
    assert abs(u.mean() - 0.05) < 5 * 0.01 / u.numel() ** 0.5
    assert abs(u.std() - 0.01) < 5 * 0.01 / (2 * u.numel()) ** 0.5

    with torch.no_grad():
        u.copy_(torch.randn_like(u))
    means = prior().component_distribution.mean
    torch.testing.assert_close(means, q(u.clamp(0, 1)).mean)
    assert not torch.allclose(means, q(u).mean)

    wide = pv.Vamp(q, 200, within=(-10.0, 30.0)).pseudo_inputs
    assert abs(wide.mean() - (-8)) < 5 * 0.4 / wide.numel() ** 0.5


def test_learned_weights_start_equal_and_are_those_of_the_mixture():
    q = pv.Normal(2, given=3)
    prior, z = pv.Vamp(q, torch.randn(4, 3), learned_weights=True), torch.randn(7, 2)
    torch.testing.assert_close(prior().log_prob(z), pv.Vamp(q, prior.pseudo_inputs)().log_prob(z))

    prior.logits.data = torch.tensor([0.0, 1.0, -2.0, 3.0])
    truth = torch.logsumexp(
        prior.logits.log_softmax(-1) + q(prior.pseudo_inputs).log_prob(z[:, None]), -1
    )
    torch.testing.assert_close(prior().log_prob(z), truth)
    assert pv.Vamp(q, 4).logits is None


def test_pseudo_inputs_from_data_are_different_rows_of_it():
    x = torch.arange(20.0).unsqueeze(-1).expand(20, 3)
    u = pv.Vamp.from_data(pv.Normal(2, given=3), x, components=20).pseudo_inputs
    assert u[:, 0].sort().values.tolist() == x[:, 0].tolist() and not torch.equal(u, x)
    assert (
        pv.Vamp.from_data(pv.Normal(2, given=3), x.int(), components=5).pseudo_inputs.dtype
        == torch.float32
    )


def test_the_aggregate_is_the_average_of_q_as_it_was():
    q, x, z = pv.Normal(2, given=3), torch.randn(9, 3), torch.randn(7, 2)
    prior = pv.Aggregate(q, x)
    truth = torch.stack([q(row).log_prob(z) for row in x]).logsumexp(0) - math.log(9)

    for w in q.parameters():
        nn.init.zeros_(w)

    torch.testing.assert_close(prior().log_prob(z), truth)
    assert not any(w.requires_grad for w in prior.parameters()) and "x" in dict(
        prior.named_buffers()
    )
    assert not prior.train().training
    assert pv.Aggregate(q, x, components=4)().component_distribution.batch_shape == (4,)


def test_the_aggregate_is_the_best_prior_of_a_trained_pair(trained, digits, tmp_path):
    vae, _ = trained
    x = pv.data.binarise(digits.train)
    before = pv.diagnostics.elbo(vae, x, num_samples=20, progress=False)
    new = pv.VAE(
        prior=pv.Aggregate(vae.variational, x),
        likelihood=vae.likelihood,
        variational=vae.variational,
    )
    after = pv.diagnostics.elbo(new, x, num_samples=20, progress=False)

    difference = after.value - before.value
    assert difference.mean() > 5 * difference.std() / len(x) ** 0.5

    pv.save_weights(new, tmp_path / "weights.safetensors")
    other = pv.Normal(2, given=(1, 8, 8))
    blank = pv.VAE(
        prior=pv.Aggregate(other, torch.zeros_like(x)),
        likelihood=pv.Bernoulli((1, 8, 8), given=2),
        variational=other,
    )
    pv.load_weights(blank, tmp_path / "weights.safetensors")
    z = torch.randn(5, 2)
    assert torch.equal(blank.prior().log_prob(z), new.prior().log_prob(z))


MISUSES = {
    "pseudo-inputs of another shape": (
        lambda: pv.Vamp(pv.Normal(2, given=(1, 3)), torch.zeros(5, 3)),
        ValueError,
        r"pseudo_inputs: expected .* given \[\(1, 3\)\], got shape \[5, 3\]",
    ),
    "no pseudo-inputs": (
        lambda: pv.Vamp(pv.Normal(2, given=3), torch.zeros(0, 3)),
        ValueError,
        r"pseudo_inputs: .*got shape \[0, 3\]",
    ),
    "pseudo-inputs for two variables": (
        lambda: pv.Vamp(pv.Normal(2, given=[3, 4]), torch.zeros(5, 3)),
        ValueError,
        "pseudo_inputs: expected",
    ),
    "pseudo-inputs for nothing given": (
        lambda: pv.Vamp(pv.Normal(2), torch.zeros(5, 3)),
        ValueError,
        "pseudo_inputs: expected",
    ),
    "more pseudo-inputs than data": (
        lambda: pv.Vamp.from_data(Q, torch.zeros(10, 3), components=11),
        ValueError,
        "components: expected a whole number from 1 to the 10 data given, got 11: "
        ".* more pseudo-inputs than data",
    ),
    "more components than data": (
        lambda: pv.Aggregate(Q, torch.zeros(10, 3), components=11),
        ValueError,
        "components: expected .* 10 data given, got 11",
    ),
    "an aggregate of other data": (
        lambda: pv.Aggregate(Q, torch.zeros(10, 4)),
        ValueError,
        r"x: expected a tensor .* given \[\(3,\)\], got shape \[10, 4\]",
    ),
    "zero pseudo-inputs": (
        lambda: pv.Vamp(Q, 0),
        ValueError,
        r"pseudo_inputs: .*got shape \[0, 3\]",
    ),
    "free pseudo-inputs for two variables": (
        lambda: pv.Vamp(pv.Normal(2, given=[3, 4]), 5),
        ValueError,
        "pseudo_inputs: expected .* given one variable",
    ),
    "no interval": (
        lambda: pv.Vamp(Q, 5, within=(1, 0)),
        ValueError,
        r"within: .* the lower first, got \(1, 0\)",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
