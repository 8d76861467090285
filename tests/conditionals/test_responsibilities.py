"""The best q(y | x), against the bound itself and against a mixture's own responsibilities."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.weights import weigh
from tests.oracles import affine

K, D, N = 3, 2, 4
linear = partial(pv.networks.mlp, hidden=())


def make(prior=pv.Normal, variational=pv.Normal, **options):
    torch.manual_seed(0)
    labels = pv.OneHotCategorical(K, logits=torch.tensor([0.0, 0.5, -0.5]))
    p, q = prior(D, given=K, net=linear), variational(D, given=N, net=linear, **options)
    for part in (p, q):
        for parameter in part.parameters():
            nn.init.normal_(parameter, std=0.5)
    return pv.LabelledVAE(
        labels=labels,
        prior=p,
        likelihood=pv.Normal(N, given=D, net=linear, scale=0.5),
        classifier=pv.Responsibilities(labels, p, q),
        variational=q,
    ).double()


@pytest.mark.parametrize("variational", [pv.Normal, pv.MultivariateNormal])
@pytest.mark.parametrize("prior", [pv.Normal, pv.MultivariateNormal])
def test_no_other_has_a_larger_elbo(prior, variational):
    pair = make(prior, variational)
    x = torch.randn(6, N).double()
    logits = pair.classifier(x).logits.detach()

    # the part of the ELBO that depends on q(y | x), by draws of z
    q, y = pair.variational(x), torch.eye(K).double()
    z = q.sample((40_000,)).unsqueeze(1)
    log_p = (pair.prior(y[:, None]).log_prob(z) + pair.labels().log_prob(y)[:, None]).detach()

    def bound(logits):
        log_q = logits.log_softmax(-1).T
        return (log_q.exp() * (log_p - log_q)).sum(1)

    best = bound(logits)
    for step in 0.3 * torch.randn(5, 6, K).double():
        less = best - bound(logits + step)
        assert (less.mean(0) > -5 * less.std(0) / len(less) ** 0.5).all()
    # what is left of it is in closed form
    exact = (pair.labels().logits - kl(pair, x)).logsumexp(-1) - q.entropy().detach()
    assert ((best.mean(0) - exact).abs() < 5 * best.std(0) / len(best) ** 0.5).all()


@torch.no_grad()
def kl(pair, x):
    """KL(q(z | x) ‖ p(z | y)), `[n, K]`, each by itself."""

    def full(p):
        covariance = getattr(p, "covariance_matrix", None)
        return MultivariateNormal(
            p.mean, p.variance.diag_embed() if covariance is None else covariance
        )

    y = torch.eye(K).double()
    rows = [
        [
            torch.distributions.kl_divergence(full(pair.variational(a)), full(pair.prior(b)))
            for b in y
        ]
        for a in x
    ]
    return torch.tensor(rows)


def test_at_a_point_they_are_those_of_a_mixture():
    labels = pv.OneHotCategorical(K, logits=torch.tensor([0.0, 0.5, -0.5]))
    torch.manual_seed(0)
    prior = pv.Normal(D, given=K, net=linear)
    identity = affine(torch.eye(D), torch.zeros(D)).float()
    q = pv.Normal(D, given=D, net=identity, scale=1e-4)
    z = torch.randn(5, 1, D)
    log_p = prior(torch.eye(K)).log_prob(z) + labels().logits
    found = pv.Responsibilities(labels, prior, q)(z[:, 0]).probs
    torch.testing.assert_close(found, log_p.softmax(-1), rtol=1e-3, atol=1e-4)


def test_its_parameters_are_those_of_the_pair():
    pair = make()
    held = {id(p) for part in (pair.prior, pair.variational) for p in part.parameters()}
    assert {id(p) for p in pair.classifier.parameters()} == held


def test_it_takes_any_leading_dimensions():
    pair, x = make(), torch.randn(5, 2, N).double()
    q = pair.classifier(x)
    assert q.batch_shape == (5, 2) and q.event_shape == (K,)
    torch.testing.assert_close(q.logits[3], pair.classifier(x[3]).logits)


def test_the_decoder_runs_once_and_not_for_each_label():
    pair = make().float()
    seen = []
    pair.likelihood.net.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    pv.Objective(pair)(torch.randn(7, N))
    with OwnParameters():
        weigh(pair, (torch.randn(7, N),), 5)
    assert [shape.numel() for shape in seen] == [7 * D, 5 * 7 * D]


@pytest.mark.parametrize(
    ("prior", "q", "words"),
    [
        (pv.Normal(D), pv.Normal(D, given=N), r"prior: .* given y \(3,\) alone"),
        (pv.Normal(D, given=[K, 2]), pv.Normal(D, given=N), "prior: .* alone"),
        (pv.Normal(D, given=K), pv.Normal(5, given=N), r"variational: expected one over \(2,\)"),
    ],
)
def test_parts_that_do_not_fit(prior, q, words):
    with pytest.raises(ValueError, match=words):
        pv.Responsibilities(pv.OneHotCategorical(K), prior, q)


def test_a_kl_without_a_closed_form_is_refused():
    q = pv.StudentT(D, given=N)
    classifier = pv.Responsibilities(pv.OneHotCategorical(K), pv.Normal(D, given=K), q)
    with pytest.raises(ValueError, match="has no closed form for StudentT"):
        classifier(torch.zeros(2, N))
