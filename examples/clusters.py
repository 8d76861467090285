"""Digits in clusters: no label is known (Jiang et al., 2017).

The model is a Gaussian mixture of z, and a decoder. From a random start the clusters are no digits.
`pv.start_clusters` trains a plain VAE first, and carries a mixture on its codes into the pair. The
figure clusters.png has a row of draws for each cluster.
"""

from functools import partial

import torch

import pyro_vae as pv
from pyro_vae.look import plots

X, Z, K = (1, 8, 8), 6, 10


def build() -> pv.LabelledVAE:
    torch.manual_seed(0)
    linear = partial(pv.networks.mlp, hidden=())
    labels = pv.OneHotCategorical(K)
    prior = pv.MultivariateNormal(Z, given=K, net=linear)
    q = pv.Normal(Z, given=X)
    return pv.LabelledVAE(
        labels=labels,
        prior=prior,
        likelihood=pv.Normal(X, given=Z, scale=0.1),
        classifier=pv.Responsibilities(labels, prior, q),
        variational=q,
    )


def main(epochs: int = 40, refining: int = 20, num_samples: int = 50) -> dict[str, float]:
    digits = pv.data.load("digits")
    x, x_test, labels = digits.train, digits.test, digits.labels[2]

    named, options = build(), {"batch_size": 64, "seed": 0}
    mixture = pv.start_clusters(named, x, epochs=epochs, learning_rate=2e-3, **options)
    codes = named.variational(x_test).mean.detach().double().numpy()
    by_mixture = torch.as_tensor(mixture.predict(codes))
    pv.fit(named, x, epochs=refining, **options)

    other = build()
    pv.fit(other, x, epochs=epochs + refining, learning_rate=2e-3, **options)

    found = {"the mixture": pv.diagnostics.compare_labels(by_mixture, labels, match=True).accuracy}
    for name, pair in {"named start": named, "random start": other}.items():
        clusters = pv.diagnostics.cluster(pair, x_test, labels, num_samples=num_samples)
        found[name] = clusters.by_posterior.accuracy
        print(f"{name}\n{clusters}\n")
    print(f"accuracy of the mixture on the codes of the start: {found['the mixture'].value:.4f}")

    y = torch.arange(K).repeat_interleave(10)
    drawn = pv.simulate(named, torch.zeros(len(y), *X), y, mean=True)["x"]
    plots.classes(drawn, y, title="draws of p(x|z), z ~ p(z|y)").savefig("clusters.png")
    return {name: accuracy.value for name, accuracy in found.items()}


if __name__ == "__main__":
    main()
