"""What the topics of a pair say: their top words, how these keep together, and perplexity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.arguments import as_tensor, check_choice, check_type, check_whole
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.networks import Topics

REPEATS = 100  # bootstrap samples of the documents


@dataclass(frozen=True)
class TopWords:
    """The words that are most probable under each of K topics.

    Attributes:
        places: Where they are in the vocabulary, `[K, n]`, the most probable first.
        words: The words themselves, a tuple for each topic.
    """

    places: Tensor
    words: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        width = len(str(len(self.words) - 1))
        return "\n".join(f"{k:{width}}  {' '.join(row)}" for k, row in enumerate(self.words))

    __repr__ = __str__


@dataclass(frozen=True)
class TopicCoherence(Estimate):
    """How the top words of topics keep together, the mean over topics.

    Attributes:
        value: The mean over topics, between -1 and 1.
        stderr: Its standard error over documents, by the bootstrap. The topics are fixed.
        topics: The same for each topic, `[K]`.
    """

    topics: Estimate


def top_words(
    topics: nn.Module | Tensor, vocabulary: Sequence[str] | None = None, *, n: int = 10
) -> TopWords:
    """The words that are most probable in a document that is about one topic alone.

    Arguments:
        topics: A pair whose likelihood has `networks.topics`. Or a table `[K, V]` with a row for
            each topic, larger for more probable words.
        vocabulary: The words. By default they are called by their places.
        n: How many for each topic.

    Raises:
        TypeError: if `topics` is neither, or the pair has not one network of topics.
        ValueError: if the vocabulary has another length, or fewer than n words.

    Example:
        >>> table = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
        >>> top_words(table, ["ball", "vote", "game"], n=2)
        0  ball game
        1  vote game
    """
    table = _find_table(topics)
    n, size = check_whole("n", n), table.shape[1]
    if vocabulary is not None:
        check_type("vocabulary", vocabulary, Sequence, "a list of words")
    names = [str(i) for i in range(size)] if vocabulary is None else list(vocabulary)
    if len(names) != size:
        raise ValueError(f"vocabulary: expected {size} words, got {len(names)}")
    if n > size:
        raise ValueError(f"n: expected at most the {size} words of the vocabulary, got {n}")

    places = table.topk(n).indices.cpu()
    words = tuple(tuple(names[i] for i in row) for row in places.tolist())
    return TopWords(places=places, words=words)


def _find_table(topics: nn.Module | Tensor) -> Tensor:
    """A row for each topic, and a column for each word."""
    if isinstance(topics, Tensor) and topics.dim() == 2:
        return topics.detach()
    if not isinstance(topics, nn.Module):
        what = list(topics.shape) if isinstance(topics, Tensor) else type(topics).__name__
        raise TypeError(f"topics: expected a pair or a table [K, V], got {what}")

    networks = [module for module in topics.modules() if isinstance(module, Topics)]
    if len(networks) != 1:
        raise TypeError(
            f"topics: expected a pair with one network of topics, got {len(networks)}. Take "
            "pv.Multinomial(V, given=K, net=pv.networks.topics) as the likelihood, or give a table "
            "[K, V]"
        )
    return networks[0].find_words()


def topic_coherence(top: TopWords | Tensor, documents: Any) -> TopicCoherence:
    r"""The normalised pointwise mutual information of the top words of topics, by documents.

    .. math:: \mathrm{NPMI} = \frac{2}{n (n - 1)} \sum_{i < j} \frac{\log p_{ij} - \log p_i p_j}
        {-\log p_{ij}}

    p_i is the share of the documents that hold word i, and p_ij of those that hold both. A pair of
    words that no document holds counts as -1, two words that are in every document as 1. (Bouma,
    2009; Lau, Newman & Baldwin, 2014)

    Take documents that were not trained on. The number depends on them, and on the vocabulary.

    Arguments:
        top: What `top_words` returns, or places `[K, n]` of words, at least two for each topic.
        documents: Counts, `[documents, V]`, a tensor or a sparse matrix of SciPy's.

    Returns:
        A `TopicCoherence`.

    Raises:
        TypeError: if the documents are neither.
        ValueError: if a topic has one word, or a word lies beyond the documents' columns.

    Example:
        >>> together = torch.tensor([[1, 1, 0], [2, 1, 0], [0, 0, 1], [0, 1, 1]])
        >>> topic_coherence(torch.tensor([[0, 1]]), together).value
        0.415...
    """
    places = top.places if isinstance(top, TopWords) else top
    present = _find_present(places, documents)
    n = present.shape[1]

    generator = torch.Generator().manual_seed(0)
    each = _average_npmi(present, torch.ones(n))
    repeated = []
    for _ in range(REPEATS):
        sample = torch.randint(n, (n,), generator=generator)
        repeated.append(_average_npmi(present, torch.bincount(sample, minlength=n).float()))
    samples = torch.stack(repeated)

    return TopicCoherence(
        value=each.mean().item(),
        stderr=samples.mean(1).std().item(),
        topics=Estimate(value=each, stderr=samples.std(0)),
    )


def _find_present(places: Tensor, documents: Any) -> Tensor:
    """Which documents hold which of the words, `[K, documents, n]`, 0 or 1."""
    if places.dim() != 2 or places.shape[1] < 2:
        raise ValueError(f"top: expected at least two words a topic, got {list(places.shape)}")
    used, columns = places.unique(return_inverse=True)
    size = documents.shape[1] if hasattr(documents, "shape") else 0
    if size and not 0 <= int(used[0]) <= int(used[-1]) < size:
        raise ValueError(
            f"top: expected words among the {size} of the documents, got {int(used[-1])}"
        )

    if not isinstance(documents, Tensor):
        documents = _take_columns(documents, used)
        used = torch.arange(len(used))
    held = (documents[:, used.to(documents.device)] > 0).float().cpu()

    return held[:, columns].movedim(1, 0)


def _take_columns(documents: Any, used: Tensor) -> Tensor:
    from scipy.sparse import issparse

    if not issparse(documents):
        raise TypeError(
            "documents: expected a tensor or a sparse matrix of SciPy's, [documents, V], got "
            f"{type(documents).__name__}"
        )
    return torch.as_tensor(documents.tocsc()[:, used.numpy()].toarray())


def _average_npmi(present: Tensor, weights: Tensor) -> Tensor:
    """The NPMI of each topic, `[K]`, where document i counts `weights[i]` times."""
    total = weights.sum()
    weighted = present * weights.unsqueeze(-1)
    both = (weighted.mT @ present).double() / total
    alone = both.diagonal(dim1=-2, dim2=-1)

    i, j = torch.triu_indices(both.shape[-1], both.shape[-1], 1)
    p = both[:, i, j]
    information = p.log() - alone[:, i].log() - alone[:, j].log()
    npmi = torch.where(p < 1, information / -p.log(), 1.0)

    return torch.where(p > 0, npmi, -1.0).mean(-1)


def topic_diversity(top: TopWords | Tensor) -> Estimate:
    """The share of distinct words among the top words of all topics. It is exact.

    (Dieng, Ruiz & Blei, 2020)

    Arguments:
        top: What `top_words` returns, or places `[K, n]` of words.

    Example:
        >>> topic_diversity(torch.tensor([[0, 1], [1, 2]])).value
        0.75
    """
    places = top.places if isinstance(top, TopWords) else as_tensor("top", top)
    if not places.numel():
        raise ValueError("top: expected the words of one topic at least, got none")
    return Estimate(value=len(places.unique()) / places.numel(), stderr=0.0)


def perplexity(bound: Estimate, x: Tensor, *, per: str = "document") -> Estimate:
    r"""The perplexity of documents, as it is published, from their ELBO or log p(x).

    .. math:: \exp\Bigl( -\frac{1}{D} \sum_d \frac{\log p(w_d)}{N_d} \Bigr), \qquad
        \log p(w_d) = \log p(x_d) - \log \frac{N_d!}{\prod_j x_{dj}!}

    The multinomial coefficient is taken off, because the words of a document are scored in their
    order. So it is for a likelihood that has the coefficient: `Multinomial` and
    `DirichletMultinomial`. From a lower bound on log p(x) it is an upper bound. A document without
    words says nothing and is left out. (Srivastava & Sutton, 2017)

    Arguments:
        bound: For each document, in nats: what `elbo`, `log_evidence` or `annealed_log_evidence`
            returns for x.
        x: The documents, counts `[n, V]`.
        per: "document" takes the mean over documents of their nats per word, as above. "word"
            divides all nats by all words, as scikit-learn does.

    Returns:
        The perplexity. Its error is that of the draws, by the delta method. The documents are
        fixed.

    Raises:
        ValueError: if the bound is not of these documents, or none has a word.

    Example:
        >>> x = torch.tensor([[2.0, 0.0, 0.0]])  # with p = 1/3 each
        >>> log_p = torch.tensor([1 / 9]).log()
        >>> round(perplexity(Estimate(log_p, torch.zeros(1)), x).value, 4)
        3.0
    """
    check_choice("per", per, ("document", "word"))
    check_type("bound", bound, Estimate, "an Estimate, what diagnostics.elbo returned")
    value, x = torch.as_tensor(bound.value), as_tensor("x", x)
    if x.dim() != 2 or value.shape != x.shape[:1]:
        raise ValueError(
            f"bound: expected a value for each of the documents [n, V], got {list(value.shape)} "
            f"for x {list(x.shape)}"
        )
    x = x.to(value)
    totals = x.sum(-1)
    has_words = totals > 0
    if not has_words.any():
        raise ValueError("x: no document has a word")

    log_ways = torch.lgamma(totals + 1) - torch.lgamma(x + 1).sum(-1)
    shares = 1 / totals.clamp(min=1) if per == "document" else torch.ones_like(totals)
    shares = shares * has_words / (has_words.sum() if per == "document" else totals.sum())
    nats = -((value - log_ways) * shares).sum()
    error = (torch.as_tensor(bound.stderr) * shares).square().sum().sqrt()

    perplexity = math.exp(nats)
    return Estimate(value=perplexity, stderr=perplexity * error.item())
