"""The network of topics: products and mixtures of words."""

from functools import partial

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.networks.topics import Topics, topics
from pyro_vae.weights.comparison import compare_draws

K, V = 3, 7


@pytest.mark.parametrize("mixture", [False, True])
def test_the_words_of_a_document_by_hand(mixture):
    net = topics([(K,)], (V,), mixture=mixture).eval()
    body = net.body
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    h = torch.randn(2, 5, K)
    theta = h.softmax(-1)
    if mixture:
        truth = theta @ body.beta.softmax(-1)
    else:
        body.standardise.mean.fill_(0.5)
        body.standardise.variance.fill_(4.0)
        logits = (theta @ body.beta - 0.5) / 4.00001**0.5 + body.standardise.bias
        truth = logits.softmax(-1)
    assert torch.allclose(net(h).softmax(-1), truth, atol=1e-5)


@pytest.mark.parametrize("mixture", [False, True])
def test_words_of_a_topic_are_those_of_a_document_about_it_alone(mixture):
    net = topics([(K,)], (V,), mixture=mixture).eval()
    alone = 100 * torch.eye(K)
    assert torch.allclose(net.body.find_words(), net(alone).log_softmax(-1), atol=1e-5)
    assert torch.allclose(net.body.find_words().exp().sum(-1), torch.ones(K))


def test_a_mixture_stays_finite_where_no_topic_has_a_word():
    net = Topics(K, V, mixture=True)
    with torch.no_grad():
        net.beta[:, 0] = -1e4
    y = net(torch.randn(5, K))
    y.sum().backward()
    assert y.isfinite().all() and net.beta.grad.isfinite().all()


def test_dropout_leaves_topics_out_in_training_alone():
    net = topics([(K,)], (V,), dropout=0.5, mixture=True)
    h = torch.randn(50, K)
    assert not torch.equal(net(h), net(h))
    net.eval()
    assert torch.equal(net(h), net(h))


@pytest.mark.parametrize(
    ("given", "out"), [([(K,), (2,)], (V,)), ([(K, 2)], (V,)), ([(K,)], (V, 2, 2))]
)
def test_other_shapes_are_refused(given, out):
    with pytest.raises(ValueError, match=r"topics: expected one vector given.*pv.Multinomial"):
        topics(given, out)


def build(**options):
    return pv.VAE(
        prior=pv.approximate_dirichlet(K, 0.3),
        likelihood=pv.Multinomial(
            V, given=K, net=partial(pv.networks.topics, **options), total_count=20
        ),
        variational=pv.Normal(K, given=V, net=pv.networks.standardised(pv.networks.mlp)),
    )


def documents(n):
    """Documents of lengths from 1 to 40, the first of them short."""
    lengths = torch.randint(5, 40, (n,))
    lengths[:3] = torch.tensor([1, 2, 3])
    p = torch.distributions.Dirichlet(torch.full((V,), 0.5)).sample((n,))
    rows = [torch.distributions.Multinomial(int(m), probs=q).sample() for m, q in zip(lengths, p)]
    return torch.stack(rows)


@pytest.mark.parametrize("mixture", [False, True])
def test_draws_together_are_those_one_by_one_in_training_too(mixture):
    vae, x = build(mixture=mixture), documents(30)
    pv.fit(vae, x, epochs=2, seed=0, progress=False)
    assert compare_draws(vae, (x,)) == []
    h = torch.randn(4, 5, K)
    likelihood = vae.likelihood.train()
    kept = {name: value.clone() for name, value in likelihood.state_dict().items()}
    together = likelihood(h).logits
    for j in range(4):
        likelihood.load_state_dict(kept)
        assert torch.allclose(likelihood(h[j]).logits, together[j], atol=1e-5)


def test_documents_of_different_lengths_go_through_every_tool():
    vae, x = build(), documents(40)
    assert len(x.sum(-1).unique()) > 10
    assert pv.check(vae, x).problems == []
    history = pv.fit(vae, x, epochs=30, batch_size=10, learning_rate=5e-3, seed=0, progress=False)
    assert history.elbo[-1] > history.elbo[0]
    few, quiet = x[:5], {"progress": False}
    seen = pv.diagnostics.picture(vae, few, num_samples=100, **quiet)
    assert "log p(x)" in str(seen)
    sampled = pv.diagnostics.log_evidence(vae, few, num_samples=4000, **quiet)
    annealed = pv.diagnostics.annealed_log_evidence(
        vae, few, num_steps=15, num_chains=30, num_leapfrog=4, **quiet
    )
    error = (sampled.stderr**2 + annealed.stderr**2).sqrt()
    assert ((annealed.value - sampled.value).abs() < 5 * error + 1e-6).all()
    bound = pv.diagnostics.elbo(vae, few, **quiet)
    upper = pv.diagnostics.perplexity(bound, few)
    assert upper.value > pv.diagnostics.perplexity(sampled, few).value - 5 * upper.stderr


def test_a_check_leaves_the_statistics_as_they_are():
    vae, x = build(dropout=0.5), documents(10)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    assert pv.check(vae, x).problems == []
    assert all(torch.equal(before[name], value) for name, value in vae.state_dict().items())
    assert vae.training


def test_known_topics_are_learned():
    torch.manual_seed(0)
    words = 12
    p = torch.full((K, words), 0.01)
    for k in range(K):
        p[k, 4 * k : 4 * k + 4] = 1.0
    theta = torch.distributions.Dirichlet(torch.full((K,), 0.1)).sample((400,))
    mixed = theta @ (p / p.sum(-1, keepdim=True))
    x = torch.stack([torch.distributions.Multinomial(40, probs=q).sample() for q in mixed])
    vae = pv.VAE(
        prior=pv.approximate_dirichlet(K, 0.3),
        likelihood=pv.Multinomial(words, given=K, net=pv.networks.topics),
        variational=pv.Normal(
            K,
            given=words,
            net=pv.networks.standardised(partial(pv.networks.mlp, hidden=(30,))),
        ),
    )
    pv.fit(vae, x, epochs=30, batch_size=50, learning_rate=2e-2, seed=0, progress=False)
    top = pv.diagnostics.top_words(vae, n=4)
    assert sorted(sorted(row) for row in top.places.tolist()) == [
        list(range(4 * k, 4 * k + 4)) for k in range(K)
    ]


def test_no_measurement_moves_the_statistics():
    vae, x = build(dropout=0.5), documents(12)
    pv.fit(vae, x, epochs=1, seed=0, progress=False)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    quiet = {"progress": False}
    pv.diagnostics.picture(vae, x, num_samples=20, **quiet)
    pv.diagnostics.annealed_log_evidence(vae, x, num_steps=2, num_chains=2, **quiet)
    pv.diagnostics.inference_gaps(vae, x, num_steps=2, num_samples=10, **quiet)
    pv.diagnostics.bracket(vae, x, num_steps=2, num_chains=2, **quiet)
    pv.diagnostics.calibrate(vae, x, num_draws=4, **quiet)
    pv.simulate(vae, x)
    pv.reconstruct(vae, x)
    assert all(torch.equal(before[name], value) for name, value in vae.state_dict().items())
