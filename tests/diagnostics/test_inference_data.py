"""Draws for ArviZ against exact posteriors, and every pair."""

import sys

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.inference_data import to_arviz
from tests.contract.test_pairs import CASES, ROWS, enumerated

arviz = pytest.importorskip("arviz")
GROUPS = {
    "posterior",
    "posterior_predictive",
    "log_likelihood",
    "prior",
    "prior_predictive",
    "observed_data",
    "variational",
}
DRAWS = 4000


@pytest.mark.parametrize("name", CASES)
def test_every_pair(name):
    case = CASES[name]
    found = to_arviz(case.make(), *case.data(), num_samples=7)
    assert set(found.groups()) == GROUPS
    for group in GROUPS - {"observed_data"}:
        for values in found[group].data_vars.values():
            assert (values.sizes["chain"], values.sizes["draw"]) == (1, 7)
            assert values.sizes["datum"] == ROWS
    assert found.variational["log_weight"].dims == ("chain", "draw", "datum")


def test_draws_are_of_the_posterior_and_not_of_q():
    """x ~ N(z, 1), z ~ N(0, 1), and q = N(0, 1): the posterior is N(x / 2, 1 / 2)."""
    torch.manual_seed(0)
    vae = pv.VAE(
        prior=pv.StandardNormal(1),
        likelihood=pv.Normal(1, given=1, net=torch.nn.Identity(), scale=1.0),
        variational=pv.Normal(1, given=1, net=Zero(), scale=1.0),
    )
    x = torch.tensor([[-1.0], [0.5], [1.0]])
    found = to_arviz(vae, x, num_samples=DRAWS)

    z = torch.tensor(found.posterior["z"].values)[0, ..., 0]
    stderr = z.std(0) / found.posterior.attrs["smallest_effective_sample_size"] ** 0.5
    assert ((z.mean(0) - x[:, 0] / 2).abs() < 5 * stderr).all()
    assert (z.var(0) - 0.5).abs().max() < 0.1
    q = torch.tensor(found.variational["z"].values)[0, ..., 0]
    assert (q.mean(0).abs() < 5 / DRAWS**0.5).all()
    log_weight = torch.tensor(found.variational["log_weight"].values)[0]
    by_hand = torch.distributions.Normal(q, 1.0).log_prob(x[:, 0])
    torch.testing.assert_close(log_weight, by_hand, rtol=1e-4, atol=1e-5)
    score = torch.tensor(found.log_likelihood["x"].values)[0]
    torch.testing.assert_close(
        score, torch.distributions.Normal(z, 1.0).log_prob(x[:, 0]), rtol=1e-4, atol=1e-5
    )
    assert "resampled" in found.posterior.attrs["how"]


class Zero(torch.nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def test_a_latent_that_is_summed_over_has_the_posterior_of_the_table():
    torch.manual_seed(0)
    vae, x = enumerated(), torch.eye(4)
    found = to_arviz(vae, x, num_samples=DRAWS)
    with torch.no_grad():
        values = torch.eye(3)[:, None]
        log_joint = vae.prior().log_prob(values) + vae.likelihood(values).log_prob(x)
    share = torch.tensor(found.posterior["z"].values)[0].mean(0)
    ess = found.posterior.attrs["smallest_effective_sample_size"]
    assert ((share - log_joint.softmax(0).T).abs() < 5 * 0.5 / ess**0.5).all()


def test_arviz_takes_it():
    torch.manual_seed(0)
    case = CASES["VAE"]
    found = to_arviz(case.make(), *case.data(), num_samples=50)
    assert len(arviz.summary(found, var_names=["z"])) == ROWS * 2
    assert arviz.waic(found, var_name="x").n_data_points == ROWS


def test_without_arviz_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    case = CASES["VAE"]
    with pytest.raises(ImportError, match=r"pip install 'pyro_vae\[arviz\]'"):
        to_arviz(case.make(), *case.data())


def test_no_number_of_samples():
    case = CASES["VAE"]
    with pytest.raises(ValueError, match="num_samples"):
        to_arviz(case.make(), *case.data(), num_samples=0)
