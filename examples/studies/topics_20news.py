"""ProdLDA (Srivastava & Sutton, 2017) on 20 Newsgroups, beside scikit-learn's LDA.

As in the code published with the paper: 50 topics, a prior at α = 1, softplus layers of 100 and
100, standardised outputs, Adam at 2e-3 with beta1 0.99, and batches of 200. What differs: the
2,000 commonest of the 3,072 words at hand are taken (1,995 there), every tenth training document
is left out, there are 60 epochs (100 to 200 there), dropout is less (0.6 there) and on both layers
of q (the last there), and the likelihood is standardised by running statistics instead of
those of the batch.

NPMI is that of the ten top words of each topic, by their co-occurrence in test documents. Its error
is over those documents. The authors' file of three runs has 0.251, 0.231 and 0.251, on their own
preprocessing and reference documents. Set PYRO_VAE_DATA to the folder that has 20news.npz.

    python examples/studies/topics_20news.py
    python examples/studies/topics_20news.py --short   # seconds, on a few documents and words
"""

import sys
import time
from functools import partial

import torch
from torch import Tensor, nn

import pyro_vae as pv

SHORT = {"topics": 5, "epochs": 2, "rows": 300, "words": 60, "num_samples": 2, "passes": 1}
COLUMNS = {"NPMI": 3, "distinct words": 2, "perplexity": 0, "per word": 0}  # and decimals

Row = dict[str, pv.diagnostics.Estimate]


def build(words: int, topics: int, alpha: float, dropout: float) -> pv.VAE:
    def activation() -> nn.Module:
        return nn.Sequential(nn.Softplus(), nn.Dropout(dropout))

    encoder = partial(pv.networks.mlp, hidden=(100, 100), activation=activation)
    decoder = partial(pv.networks.topics, dropout=dropout)
    return pv.VAE(
        prior=pv.approximate_dirichlet(topics, alpha),
        likelihood=pv.Multinomial(words, given=topics, net=decoder, total_count=100),
        variational=pv.Normal(topics, given=words, net=pv.standardised(encoder)),
    )


def load(rows: int | None, words: int | None) -> tuple[Tensor, Tensor, list[str]]:
    """Documents to train and to test on, of the commonest words, without those that are empty."""
    data = pv.data.load("20news")
    common = data.train.sum(0).topk(words or len(data.vocabulary)).indices.sort().values
    x, x_test = (part[:rows, common] for part in (data.train, data.test))
    vocabulary = [data.vocabulary[i] for i in common]

    return x[x.sum(-1) > 0], x_test[x_test.sum(-1) > 0], vocabulary


def judge(top: pv.diagnostics.TopWords, x_test: Tensor) -> Row:
    return {
        "NPMI": pv.diagnostics.topic_coherence(top, x_test),
        "distinct words": pv.diagnostics.topic_diversity(top),
    }


def train(
    x: Tensor, x_test: Tensor, vocabulary: list[str], seed: int, epochs: int, num_samples: int,
    **options,
) -> Row:  # fmt: skip
    start = time.monotonic()
    torch.manual_seed(seed)
    vae = build(len(vocabulary), **options)
    adam = partial(torch.optim.Adam, lr=2e-3, betas=(0.99, 0.999), fused=True)
    pv.fit(vae, x, epochs=epochs, batch_size=200, optimizer=adam, compile=True, seed=seed)
    print_topics(f"ProdLDA, seed {seed}", pv.diagnostics.top_words(vae, vocabulary), start)

    bound = pv.diagnostics.elbo(vae, x_test, num_samples=num_samples)
    return judge(pv.diagnostics.top_words(vae, vocabulary), x_test) | {
        "perplexity": pv.diagnostics.perplexity(bound, x_test),
        "per word": pv.diagnostics.perplexity(bound, x_test, per="word"),
    }


def train_sklearn(
    x: Tensor, x_test: Tensor, vocabulary: list[str], topics: int, passes: int
) -> Row:
    """Latent Dirichlet allocation by scikit-learn, whose perplexity is per word."""
    from scipy.sparse import csr_matrix
    from sklearn.decomposition import LatentDirichletAllocation

    start = time.monotonic()
    lda = LatentDirichletAllocation(
        topics, learning_method="online", batch_size=200, max_iter=passes, random_state=0
    )
    lda.fit(csr_matrix(x.numpy()))
    top = pv.diagnostics.top_words(torch.as_tensor(lda.components_), vocabulary)
    print_topics("scikit-learn's LDA, seed 0", top, start)

    per_word = float(lda.perplexity(csr_matrix(x_test.numpy())))
    return judge(top, x_test) | {"per word": pv.diagnostics.Estimate(per_word, 0.0)}


def print_topics(name: str, top: pv.diagnostics.TopWords, start: float) -> None:
    print(f"\n{name}, {time.monotonic() - start:.0f} s\n{top}", flush=True)


def print_table(found: dict[str, Row]) -> None:
    print("\n" + " " * 24 + "".join(f"{column:>20}" for column in COLUMNS))
    for name, row in found.items():
        cells = [write(row.get(column), decimals) for column, decimals in COLUMNS.items()]
        print(f"{name:24}" + "".join(f"{cell:>20}" for cell in cells))


def write(estimate: pv.diagnostics.Estimate | None, decimals: int) -> str:
    if estimate is None:
        return ""
    if estimate.stderr == 0:
        return f"{estimate.value:.{decimals}f}"
    return f"{estimate.value:.{decimals}f} ± {estimate.stderr:.{decimals or 1}f}"


def main(
    topics: int = 50,
    alpha: float = 1.0,
    dropout: float = 0.2,
    epochs: int = 60,
    seeds: tuple[int, ...] = (0,),
    rows: int | None = None,
    words: int | None = 2000,
    num_samples: int = 20,
    passes: int = 5,
) -> dict[str, Row]:
    x, x_test, vocabulary = load(rows, words)
    print(f"{len(x)} documents, {len(x_test)} test documents, {len(vocabulary)} words")
    print(f"{topics} topics, α {alpha}, dropout {dropout}, {epochs} epochs, seeds {seeds}")

    parts, found = (x, x_test, vocabulary), {}
    options = {"topics": topics, "alpha": alpha, "dropout": dropout}
    for seed in seeds:
        found[f"ProdLDA, seed {seed}"] = train(*parts, seed, epochs, num_samples, **options)
    found["scikit-learn's LDA"] = train_sklearn(*parts, topics, passes)
    print_table(found)

    return found


if __name__ == "__main__":
    main(**(SHORT if "--short" in sys.argv else {}))
