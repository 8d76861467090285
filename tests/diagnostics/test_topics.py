"""Top words, their coherence and perplexity, by hand on small tables."""

import math

import pytest
import scipy.sparse
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.diagnostics.topics import perplexity, top_words, topic_coherence, topic_diversity

TABLE = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 1.0, 9.0]])
WORDS = ["ball", "vote", "game", "law"]
DOCUMENTS = torch.tensor(
    [[2, 1, 0, 0], [1, 0, 1, 0], [3, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]
)


def test_the_most_probable_words_come_first():
    top = top_words(TABLE, WORDS, n=3)
    assert top.words == (("ball", "game", "vote"), ("law", "vote", "game"))
    assert top.places.tolist() == [[0, 2, 1], [3, 1, 2]]
    assert str(top).splitlines() == ["0  ball game vote", "1  law vote game"]
    assert top_words(TABLE, n=1).words == (("0",), ("3",))


@pytest.mark.parametrize(
    ("topics", "options", "error", "words"),
    [
        ("ball", {}, TypeError, "topics: expected a pair or a table .*, got str"),
        (torch.zeros(3), {}, TypeError, r"expected a pair or a table .*, got \[3\]"),
        (torch.nn.Linear(2, 2), {}, TypeError, "expected a pair with one network of topics, got 0"),
        (TABLE, {"vocabulary": ["ball"]}, ValueError, "vocabulary: expected 4 words, got 1"),
        (TABLE, {"n": 5}, ValueError, "n: expected at most the 4 words .*, got 5"),
        (TABLE, {"n": 0}, ValueError, "n: expected a positive whole number"),
    ],
)
def test_what_has_no_top_words_is_refused(topics, options, error, words):
    with pytest.raises(error, match=words):
        top_words(topics, **options)


def npmi(both, first, second):
    return math.log(both / (first * second)) / -math.log(both)


@pytest.mark.parametrize("sparse", [False, True])
def test_coherence_by_hand(sparse):
    documents = scipy.sparse.csr_matrix(DOCUMENTS.numpy()) if sparse else DOCUMENTS
    found = topic_coherence(torch.tensor([[0, 1, 2], [3, 2, 1]]), documents)
    # shares of the six documents: ball 4, vote 3, game 2, law 1
    ball_vote, ball_game = npmi(3 / 6, 4 / 6, 3 / 6), npmi(1 / 6, 4 / 6, 2 / 6)
    law_game = npmi(1 / 6, 1 / 6, 2 / 6)
    truth = torch.tensor([(ball_vote + ball_game - 1) / 3, (law_game - 1 - 1) / 3])
    assert torch.allclose(found.topics.value, truth.double())
    assert found.value == pytest.approx(truth.mean().item())
    assert found.stderr > 0 and (found.topics.stderr > 0).all()


def test_words_that_are_in_every_document_and_words_that_are_in_none():
    documents = torch.tensor([[1, 1, 0, 1], [2, 1, 0, 0]])
    found = topic_coherence(torch.tensor([[0, 1], [0, 2], [2, 3]]), documents)
    assert found.topics.value.tolist() == [1.0, -1.0, -1.0]


def test_the_bootstrap_error_is_the_spread_between_samples_of_documents():
    torch.manual_seed(0)
    p = torch.tensor([[0.5, 0.5, 0.1, 0.1], [0.1, 0.1, 0.5, 0.5]])
    top = torch.tensor([[0, 1], [2, 3], [0, 2]])

    def draw():
        return torch.bernoulli(p[torch.randint(2, (1000,))])

    found = [topic_coherence(top, draw()) for _ in range(60)]
    values = torch.tensor([f.value for f in found])
    errors = torch.tensor([f.stderr for f in found])
    # the spread of 60 values is known to 9 %
    assert 0.55 < errors.mean() / values.std() < 1.45
    each = torch.stack([f.topics.value for f in found]).std(0)
    assert ((found[0].topics.stderr / each - 1).abs() < 0.5).all()


def test_more_documents_of_the_same_kind_have_a_smaller_error():
    few = topic_coherence(torch.tensor([[0, 1]]), DOCUMENTS.repeat(20, 1))
    many = topic_coherence(torch.tensor([[0, 1]]), DOCUMENTS.repeat(320, 1))
    assert few.value == pytest.approx(many.value)
    assert 2 < few.stderr / many.stderr < 8


@pytest.mark.parametrize(
    ("top", "documents", "error", "words"),
    [
        (torch.tensor([[0]]), DOCUMENTS, ValueError, r"at least two words a topic, got \[1, 1\]"),
        (torch.tensor([[0, 4]]), DOCUMENTS, ValueError, "among the 4 of the documents, got 4"),
        (torch.tensor([[0, 1]]), [["ball"]], TypeError, "documents: expected a tensor or a sparse"),
    ],
)
def test_documents_that_do_not_fit_are_refused(top, documents, error, words):
    with pytest.raises(error, match=words):
        topic_coherence(top, documents)


def test_distinct_words():
    assert topic_diversity(top_words(TABLE, n=2)) == Estimate(value=1.0, stderr=0.0)
    assert topic_diversity(torch.tensor([[0, 1], [0, 2], [2, 0]])).value == 3 / 6


X = torch.tensor([[2.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 3.0, 1.0]])
P = torch.tensor([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("per", ["document", "word"])
def test_perplexity_is_that_of_words_in_their_order(per):
    bound = Estimate(pv.Multinomial(4, logits=P.log())().log_prob(X), torch.tensor([0.3, 0.0, 0.6]))
    found = perplexity(bound, X, per=per)
    nats = -(X * P.log()).sum(-1)
    if per == "document":
        truth = ((nats[0] / 3 + nats[2] / 6) / 2).exp().item()
        error = truth * math.hypot(0.3 / 3, 0.6 / 6) / 2
    else:
        truth = (nats.sum() / 9).exp().item()
        error = truth * math.hypot(0.3, 0.6) / 9
    assert found.value == pytest.approx(truth, rel=1e-5)
    assert found.stderr == pytest.approx(error, rel=1e-5)


def test_the_error_covers_the_noise_of_the_draws():
    torch.manual_seed(0)
    log_p, x = pv.Multinomial(4, logits=P.log())().log_prob(X), X
    noise = torch.tensor([0.2, 0.1, 0.3])
    bounds = log_p + noise * torch.randn(400, 3)
    found = torch.tensor([perplexity(Estimate(b, noise), x).value for b in bounds])
    stated = perplexity(Estimate(log_p, noise), x).stderr
    assert 0.8 < stated / found.std() < 1.2


@pytest.mark.parametrize(
    ("bound", "x", "per", "words"),
    [
        (torch.zeros(2), X, "document", r"bound: expected a value for each .*\[2\] for x \[3, 4\]"),
        (torch.zeros(1), X[1:2], "document", "x: no document has a word"),
        (torch.zeros(3), X, "topic", "per: expected 'document' or 'word', got 'topic'"),
    ],
)
def test_what_has_no_perplexity_is_refused(bound, x, per, words):
    with pytest.raises(ValueError, match=words):
        perplexity(Estimate(bound, torch.zeros_like(bound)), x, per=per)
