"""A latent of few values is summed over, not drawn."""

import pyro
import pytest
import torch
from torch import nn

import pyro_vae as pv


def discrete_parts(kind):
    if kind == "one-hot":
        return (3,), pv.OneHotCategorical(3), pv.OneHotCategorical(3, given=4), torch.eye(3)
    if kind == "categorical":
        return (
            (),
            pv.Categorical((), classes=3),
            pv.Categorical((), given=4, classes=3),
            torch.arange(3),
        )
    return (), pv.Bernoulli(()), pv.Bernoulli((), given=4), torch.arange(2.0)


@pytest.mark.parametrize("kind", ["one-hot", "categorical", "bernoulli"])
def test_a_latent_of_few_values_is_summed_over(kind):
    shape, prior, q, values = discrete_parts(kind)
    nn.init.normal_(prior.raw)
    likelihood = pv.Bernoulli(4, given=shape or [()])
    vae = pv.VAE(prior=prior, likelihood=likelihood, variational=q, enumerate=True)
    x = torch.bernoulli(torch.full((5, 4), 0.5))

    z = values.unsqueeze(1).expand(len(values), 5, *shape)
    log_q = q(x).log_prob(z)
    log_p = prior().log_prob(z) + vae.likelihood(z).log_prob(x)
    truth = -(log_q.exp() * (log_p - log_q)).sum(0).mean()

    loss = pv.Objective(vae, pyro.infer.TraceEnum_ELBO(max_plate_nesting=1))(x)
    torch.testing.assert_close(loss, truth)
    for mine, true in zip(
        torch.autograd.grad(loss, list(vae.parameters())),
        torch.autograd.grad(truth, list(vae.parameters())),
    ):
        torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-6)

    evidence = pv.diagnostics.log_evidence(vae, x, num_samples=2000, progress=False)
    assert ((evidence.value - log_p.logsumexp(0)).abs() < 5 * evidence.stderr + 1e-6).all(), (
        "elsewhere it is drawn"
    )


def test_what_has_too_many_values_is_not_summed_over():
    parts = {
        "prior": pv.Bernoulli(2),
        "likelihood": pv.Bernoulli(4, given=2),
        "variational": pv.Bernoulli(2, given=4),
    }
    pv.VAE(**parts).guide(torch.zeros(5, 4))
    with pytest.raises(
        ValueError, match=r"enumerate=True: .* OneHotCategorical\(K\), .* got Bernoulli\(\(2,\)"
    ):
        pv.VAE(**parts, enumerate=True).guide(torch.zeros(5, 4))
