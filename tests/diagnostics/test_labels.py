"""Labels by Bayes' rule, against a Gaussian mixture in closed form."""

import pytest
import torch
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.diagnostics.labels import classify, compare_labels

K, D, N = 3, 2, 4


@pytest.fixture
def mixture():
    """z ~ N(m_y, I), x ~ N(Wz, s² I), with all parts linear, so that p(x | y) is normal."""
    torch.manual_seed(0)
    linear = lambda given, out: pv.networks.mlp(given, out, hidden=())  # noqa: E731
    pair = pv.LabelledVAE(
        labels=pv.OneHotCategorical(K, logits=torch.tensor([0.0, 0.5, -0.5])),
        prior=pv.Normal(D, given=K, net=linear, scale=1.0),
        likelihood=pv.Normal(N, given=D, net=linear, scale=0.5),
        classifier=pv.OneHotCategorical(K, given=N),
        variational=pv.Normal(D, given=[N, K], net=linear, scale=1.0),
    ).double()
    for part in (pair.prior, pair.likelihood):
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter)
    aim(pair)
    return pair


@torch.no_grad()
def aim(pair):
    """Set q(z | x, y) to the mean of the posterior, with a scale that is wider."""
    (w, b), (m, m0) = (list(part.parameters()) for part in (pair.likelihood, pair.prior))
    precision = torch.eye(D, dtype=torch.float64) + w.T @ w / 0.25
    to_z = torch.linalg.solve(precision, torch.cat([w.T / 0.25, m], 1))
    shift = torch.linalg.solve(precision, m0 - w.T @ b / 0.25)
    weight, bias = pair.variational.parameters()
    weight.copy_(to_z), bias.copy_(shift)


def find_posterior(pair, x):
    with torch.no_grad():
        y = torch.eye(K, dtype=torch.float64)
        means = pair.likelihood(pair.prior(y).mean).mean
        origin = pair.likelihood(torch.zeros(D, dtype=torch.float64)).mean
        w = pair.likelihood(torch.eye(D, dtype=torch.float64)).mean - origin
        covariance = w.T @ w + 0.25 * torch.eye(N, dtype=torch.float64)
        log_p = MultivariateNormal(means, covariance).log_prob(x.unsqueeze(1))
        return (log_p + pair.labels().logits.log_softmax(-1)).softmax(-1)


def test_the_label_by_bayes_rule_is_that_of_the_closed_form(mixture):
    x = pv.simulate(mixture, torch.zeros(20, N).double(), torch.full((20,), -1))["x"]
    found = classify(mixture, x, num_samples=20_000, progress=False)

    truth = find_posterior(mixture, x)
    error = (found.posterior.value - truth).abs()
    assert (error < 5 * found.posterior.stderr + 1e-6).all()
    assert torch.allclose(found.posterior.value.sum(-1), torch.ones(20).double())
    assert torch.equal(found.variational, mixture.classifier(x).probs.detach())


def test_blocks_give_the_whole(mixture, monkeypatch):
    monkeypatch.setattr("pyro_vae.weights.blocks.KEPT", 3 * 5 * K * N)
    x = torch.randn(7, N).double()
    found = classify(mixture, x, num_samples=5, progress=False)
    assert found.guesses.shape == (7,)


def test_a_pair_without_labels_is_refused():
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    with pytest.raises(TypeError, match="pair: expected a LabelledVAE, got VAE"):
        classify(vae, torch.zeros(2, 3))


def test_clusters_are_matched_and_a_permutation_is_perfect():
    labels = torch.arange(30) % 3
    found = compare_labels((labels + 1) % 3, labels, match=True)
    assert found.accuracy.value == found.ari.value == 1
    assert compare_labels((labels + 1) % 3, labels).accuracy.value == 0


def test_guesses_at_random_agree_as_chance_does():
    torch.manual_seed(0)
    labels, guesses = torch.randint(10, (2, 2000))
    found = compare_labels(guesses, labels)
    assert abs(found.accuracy.value - 0.1) < 5 * found.accuracy.stderr
    assert abs(found.ari.value) < 5 * found.ari.stderr
    assert 0.5 < found.accuracy.stderr / (0.09 / 2000) ** 0.5 < 2


def count(guesses, labels):
    """How often each guess goes with each label."""
    table = torch.zeros(4, 4, dtype=torch.double)
    for guess, label in zip(guesses.tolist(), labels.tolist(), strict=True):
        table[guess, label] += 1
    return table


def find_nmi(table):
    """Mutual information over the mean of the two entropies."""
    p = table / table.sum()
    a, b = p.sum(1), p.sum(0)
    information = torch.xlogy(p, p / (a.unsqueeze(1) * b)).nan_to_num().sum()
    return information / (-(torch.xlogy(a, a).sum() + torch.xlogy(b, b).sum()) / 2)


def find_ari(table):
    """Pairs that are together in both partitions, against what chance gives (Hubert & Arabie)."""

    def pairs(counts):
        return (counts * (counts - 1) / 2).sum()

    together, a, b = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    chance = a * b / pairs(table.sum())
    return (together - chance) / ((a + b) / 2 - chance)


def draw_noisy(n, right=0.7):
    """Labels of four classes, and guesses that are right in a share of cases, else at random."""
    labels = torch.randint(4, (n,))
    return torch.where(torch.rand(n) < right, labels, torch.randint(4, (n,))), labels


@pytest.mark.parametrize("n", [30, 400])
def test_scores_are_those_of_the_table(n):
    torch.manual_seed(n)
    guesses, labels = draw_noisy(n)
    names = torch.tensor([2, 0, 3, 1])
    found = compare_labels(names[guesses], labels, match=True)
    table = count(guesses, labels)

    orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
    one_to_one = [order for order in orders if len(order.unique()) == 4]
    best = max(table[torch.arange(4), order].sum() for order in one_to_one) / n
    assert found.accuracy.value == pytest.approx(best.item())
    assert found.nmi.value == pytest.approx(find_nmi(table).item())
    assert found.ari.value == pytest.approx(find_ari(table).item())


def test_errors_are_the_spread_over_data():
    """The errors of one sample of data, against the spread over many samples."""
    torch.manual_seed(0)
    tables = [count(*draw_noisy(300)) for _ in range(400)]
    errors = [compare_labels(*draw_noisy(300)) for _ in range(4)]
    for name, score in (
        ("accuracy", lambda table: table.diag().sum() / 300),
        ("nmi", find_nmi),
        ("ari", find_ari),
    ):
        spread = torch.stack([score(table) for table in tables]).std().item()
        told = sum(getattr(found, name).stderr for found in errors) / len(errors)
        assert 0.8 < told / spread < 1.25, name


@pytest.mark.parametrize(
    ("guesses", "labels", "error", "words"),
    [
        ([0, 1], [0, 1, 2], ValueError, "guesses: expected one for each of the 3 labels"),
        ([], [], ValueError, "guesses: expected one for each of the 0 labels"),
        ([0, 1], [0, -1], ValueError, "labels: expected numbers from 0, got -1. Leave out"),
        ([-1, 1], [0, 1], ValueError, "guesses: expected numbers from 0, got -1"),
        ([0.0, 1.0], [0, 1], TypeError, "guesses: expected whole numbers"),
        ([0, 1], [True, False], TypeError, "labels: expected whole numbers"),
    ],
)
def test_what_are_no_labels(guesses, labels, error, words):
    with pytest.raises(error, match=words):
        compare_labels(torch.tensor(guesses), torch.tensor(labels))
