import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae as pv


def vae(likelihood_net=pv.networks.mlp, **parts):
    return pv.VAE(
        prior=parts.get("prior", pv.StandardNormal(2)),
        likelihood=pv.Bernoulli(3, given=2, net=likelihood_net),
        variational=parts.get("variational", pv.Normal(2, given=3)),
    )


X = torch.tensor([[0.0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0]])


def test_a_good_pair_has_no_problem(capsys):
    report = pv.check(vae(), X)
    assert report.problems == []
    assert set(report.gradients) == {"likelihood", "variational"}
    assert "no problem found" in capsys.readouterr().out


class OverDraws(nn.Module):
    """Normalises over the leading dimension, which is the data's or the draws'."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 3)

    def forward(self, z):
        return 5 * self.net(z).softmax(0)


class Unfolded(nn.Module):
    """A likelihood, no conditional of ours, that takes one leading dimension only."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, z):
        return dist.Bernoulli(logits=self.net(z)).to_event(1)


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 1)

    def forward(self, z):
        n, _ = z.shape
        return self.conv(z[..., None]).reshape(n, 3)


def lonely_model(x):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Bernoulli(logits=z.sum(-1, True) + torch.zeros(3)).to_event(1), obs=x)


def lonely_guide(x):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


class Deaf(nn.Module):
    """A network whose parameters do not reach its output."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 4)

    def forward(self, x):
        return 0 * self.net(x)


def handed(likelihood):
    return pv.VAE(
        prior=pv.StandardNormal(2), likelihood=likelihood, variational=pv.Normal(2, given=3)
    )


@pytest.mark.parametrize(
    "pair, said",
    [
        (handed(Unfolded(OverDraws())), "scored otherwise when several draws are scored together"),
        (handed(Unfolded(Flat())), r"under a plate of 3 draws the pair fails"),
        (pv.Pair(lonely_model, lonely_guide), "the guide lacks the latent 'w'"),
        (vae(variational=pv.Normal(2, given=3, net=Deaf())), "variational gets no gradient"),
    ],
    ids=["normalises over draws", "one leading dimension", "lacking latent", "deaf"],
)
def test_planted_faults_are_found(pair, said):
    report = pv.check(pair, X)
    assert any(__import__("re").search(said, problem) for problem in report.problems), (
        report.problems
    )


def test_a_network_of_ours_folds_what_would_fail_otherwise():
    assert pv.check(vae(likelihood_net=Flat()), X).problems == []


def test_a_discrete_latent_is_shown_as_not_reparametrised():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample(
                "x", dist.Bernoulli(logits=z[..., None] + torch.zeros(3)).to_event(1), obs=x
            )

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Bernoulli(0.5))

    report = pv.check(pv.Pair(model, guide), X)
    assert report.problems == []
    assert [row[-1] for row in report.sites if row[0] == "z"] == ["no", "no"]
