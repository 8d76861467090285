"""Topics of documents: ProdLDA (Srivastava & Sutton, 2017).

Documents are drawn from five known topics, most of them about one or two. Their lengths differ.
The topics that are learned have the same words, by a product of words as by a mixture of words.
"""

from functools import partial

import torch

import pyro_vae as pv

TOPICS = [
    "ball goal team match coach league score",
    "vote party law state court senate tax",
    "oven salt flour butter sugar dough recipe",
    "orbit moon rocket star planet launch comet",
    "song guitar band piano concert album drum",
]
WORDS = " ".join(TOPICS).split()
K, V = len(TOPICS), len(WORDS)


def write_documents(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bags of 20 to 60 words, `[n, V]`, and the probabilities of their words."""
    each = torch.stack(
        [torch.tensor([float(w in topic.split()) for w in WORDS]) for topic in TOPICS]
    )
    theta = torch.distributions.Dirichlet(torch.full((K,), 0.2)).sample((n,))
    p = theta @ (each + 0.02) / (each + 0.02).sum(-1)[0]
    lengths = torch.randint(20, 61, (n,))
    bags = [torch.bincount(q.multinomial(int(m), True), minlength=V) for q, m in zip(p, lengths)]
    return torch.stack(bags).float(), p


def main(epochs: int = 40, n: int = 1000, num_samples: int = 100) -> dict[str, float]:
    torch.manual_seed(0)
    x, _ = write_documents(n)
    x_test, p = write_documents(300)
    nats = -(x_test * p.log()).sum(-1) / x_test.sum(-1)
    print(f"perplexity, were the topics of each document known: {nats.mean().exp():.2f}")

    found = {}
    for name, mixture in (("product of words", False), ("mixture of words", True)):
        net = partial(pv.networks.mlp, hidden=(50,), activation=torch.nn.Softplus)
        vae = pv.VAE(
            prior=pv.approximate_dirichlet(K, 0.2),
            likelihood=pv.Multinomial(
                V, given=K, net=partial(pv.networks.topics, mixture=mixture), total_count=40
            ),
            variational=pv.Normal(K, given=V, net=pv.standardised(net)),
        )
        pv.fit(vae, x, epochs=epochs, batch_size=50, learning_rate=1e-2, seed=0)

        top = pv.diagnostics.top_words(vae, WORDS, n=7)
        bound = pv.diagnostics.elbo(vae, x_test, num_samples=num_samples, progress=False)
        perplexity = pv.diagnostics.perplexity(bound, x_test)
        npmi = pv.diagnostics.topic_coherence(top, x_test)
        print(f"\n{name}: perplexity at most {perplexity.value:.2f}, NPMI {npmi.value:.2f}\n{top}")
        found[name] = count_right(top)
    return found


def count_right(top: pv.diagnostics.TopWords) -> float:
    """The share of top words that belong to the same true topic as the first of their row."""
    right = [
        word in next(topic for topic in TOPICS if row[0] in topic.split()).split()
        for row in top.words
        for word in row
    ]
    return sum(right) / len(right)


if __name__ == "__main__":
    main()
