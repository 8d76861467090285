"""The start for clusters: what is carried into the pair, and what is left alone."""

import random
from functools import partial

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.training.clusters import _find_components, _fit_classifier, _take_mixture
from tests.runs import noisy

K, D, N = 3, 2, 5
small = partial(pv.networks.mlp, hidden=(16,))
linear = partial(pv.networks.mlp, hidden=())


def make(kind=pv.MultivariateNormal, net=linear, **changed):
    torch.manual_seed(1)
    labels, p = pv.OneHotCategorical(K), kind(D, given=K, net=net)
    q = pv.Normal(D, given=N, net=small)
    parts = {
        "labels": labels,
        "prior": p,
        "likelihood": pv.Normal(N, given=D, net=small, scale="shared"),
        "classifier": pv.Responsibilities(labels, p, q),
        "variational": q,
    }
    return pv.LabelledVAE(**(parts | changed))


def make_data(n=300):
    """Three clusters on the plane, of unequal sizes, seen in five dimensions."""
    g = torch.Generator().manual_seed(0)
    y = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), n, replacement=True, generator=g)
    centres = torch.tensor([[3.0, 0.0], [-3.0, 2.0], [0.0, -4.0]])
    z = centres[y] + 0.5 * torch.randn(n, 2, generator=g)
    x = z @ torch.randn(2, N, generator=g) + 0.1 * torch.randn(n, N, generator=g)
    return x, y


class Given:
    """A fitted mixture, as far as it is carried."""

    weights_ = np.array([0.5, 0.3, 0.2])
    means_ = np.array([[3.0, 0.0], [-3.0, 2.0], [0.0, -4.0]])
    covariances_ = np.array(
        [[[1.0, 0.3], [0.3, 0.5]], [[0.04, 0.0], [0.0, 2.0]], [[0.6, -0.5], [-0.5, 0.7]]]
    )


@pytest.mark.parametrize("net", [linear, small])
@pytest.mark.parametrize("prior", [pv.Normal, pv.MultivariateNormal])
def test_the_pair_takes_the_mixture(prior, net):
    pair = make(prior, net)
    _take_mixture(pair, Given)
    p, truth = _find_components(pair), torch.tensor(Given.covariances_).float()
    torch.testing.assert_close(p.mean, torch.tensor(Given.means_).float(), atol=0.01, rtol=0.01)
    torch.testing.assert_close(pair.labels().probs, torch.tensor(Given.weights_).float())
    if prior is pv.MultivariateNormal:
        torch.testing.assert_close(p.covariance_matrix, truth, atol=0.01, rtol=0.02)
    else:
        # of all diagonal ones it is the nearest
        variances = truth.diagonal(dim1=-2, dim2=-1)
        torch.testing.assert_close(p.variance, variances, atol=0.01, rtol=0.02)


def test_fixed_weights_stay():
    labels = pv.OneHotCategorical(K, logits=0.0)
    q = pv.Normal(D, given=N, net=small)
    pair = make(labels=labels, variational=q, classifier=pv.OneHotCategorical(K, given=N))
    _take_mixture(pair, Given)
    assert torch.equal(pair.labels().probs, torch.full((K,), 1 / 3))


def test_clusters_that_lie_apart_are_those_of_the_start():
    pair, (x, y) = make(), make_data()
    mixture = pv.start_clusters(pair, x, epochs=20, learning_rate=1e-2, seed=0, progress=False)
    codes = pair.variational(x).mean.detach().double().numpy()
    found = pv.diagnostics.cluster(pair, x, y, num_samples=20, progress=False)
    by_mixture = torch.as_tensor(mixture.predict(codes))
    assert pv.diagnostics.compare_labels(by_mixture, y, match=True).accuracy.value > 0.99
    assert found.by_variational.accuracy.value > 0.99 < found.by_posterior.accuracy.value
    assert pair.labels().probs.sort().values[-1] > 0.4

    pv.fit(pair, x, epochs=2, seed=0, progress=False)
    found = pv.diagnostics.cluster(pair, x, y, num_samples=20, progress=False)
    assert found.by_variational.accuracy.value > 0.99


def test_a_classifier_of_its_own_is_fitted_to_the_responsibilities():
    pair, (x, _) = make(classifier=pv.OneHotCategorical(K, given=N, net=small)), make_data()
    _take_mixture(pair, Given)
    best = pv.Responsibilities(pair.labels, pair.prior, pair.variational)(x).probs
    others = {n: p.clone() for n, p in pair.named_parameters() if "classifier" not in n}
    options = {"learning_rate": 1e-2, "compile": True, "progress": False}
    _fit_classifier(pair, x, epochs=60, seed=0, **options)
    assert (pair.classifier(x).probs - best).abs().mean() < 0.03
    assert all(torch.equal(pair.get_parameter(name), value) for name, value in others.items())
    assert all(p.requires_grad for p in pair.parameters())


def test_a_seed_gives_the_same_start_and_random_states_are_left_alone():
    x, _ = make_data(100)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    found = []
    for _ in range(2):
        pair = make()
        torch.set_rng_state(states[2])
        pv.start_clusters(pair, x, epochs=2, seed=3, transform=noisy, progress=False)
        assert torch.equal(torch.get_rng_state(), states[2])
        found.append(torch.cat([p.detach().flatten() for p in pair.parameters()]))
    assert torch.equal(*found)
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"likelihood": pv.Normal(N, given=[D, K])}, "likelihood: .* given z alone"),
        (
            {
                "variational": pv.Normal(D, given=[N, K]),
                "classifier": pv.OneHotCategorical(K, given=N),
            },
            "variational: .* given x alone",
        ),
        (
            {"prior": pv.StandardNormal(D), "classifier": pv.OneHotCategorical(K, given=N)},
            "prior: .* given y alone",
        ),
        (
            {"prior": pv.StudentT(D, given=K), "classifier": pv.OneHotCategorical(K, given=N)},
            r"prior: expected pv.Normal\(d, given=K\)",
        ),
    ],
)
def test_other_forms_are_refused(changed, words):
    with pytest.raises(ValueError, match=words):
        pv.start_clusters(make(**changed), torch.zeros(10, N), epochs=1)


def test_other_pairs_and_too_few_data_are_refused():
    vae = pv.VAE(
        prior=pv.StandardNormal(D),
        likelihood=pv.Normal(N, given=D),
        variational=pv.Normal(D, given=N),
    )
    with pytest.raises(TypeError, match="pair: expected a LabelledVAE, got VAE"):
        pv.start_clusters(vae, torch.zeros(10, N), epochs=1)
    with pytest.raises(ValueError, match="x: expected at least as many data as clusters, 3, got 2"):
        pv.start_clusters(make(), torch.zeros(2, N), epochs=1)
    with pytest.raises(ValueError, match="restarts: expected a positive whole number"):
        pv.start_clusters(make(), torch.zeros(10, N), epochs=1, restarts=0)
