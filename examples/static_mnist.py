"""One argument swapped at a time on static MNIST: first the prior, then q.

Network, budget and test images stay the same. The networks are the gated ones of Tomczak & Welling
(2018). Their VampPrior of 500 pseudo-inputs takes log p(x) from -88.56 to -85.57 nats, after some
hundred epochs with early stopping. Here the last iterate is measured. Set PYRO_VAE_DATA to the
folder that has binarized_mnist.npz.

    python examples/static_mnist.py                   # all
    python examples/static_mnist.py 50 standard vamp  # epochs, and which
"""

import itertools
import math
import sys

import torch
from torch import nn

import pyro_vae as pv

LATENT, X = 40, (1, 28, 28)


class Gated(nn.Module):
    """(W1 x + b1) · sigmoid(W2 x + b2), twice, and a linear layer."""

    def __init__(self, given, out):
        super().__init__()
        widths = [math.prod(given[0]), 300, 300]
        self.layers = nn.ModuleList(nn.Linear(a, 2 * b) for a, b in itertools.pairwise(widths))
        self.last = nn.Linear(300, math.prod(out))

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = nn.functional.glu(layer(x))
        return self.last(x)


def normal() -> pv.Conditional:
    return pv.Normal(LATENT, given=X, net=Gated)


def flow() -> pv.Conditional:
    return pv.Flow(
        LATENT, given=X, net=Gated, flow=pv.IAF, context=300, transforms=2, hidden_features=(300,)
    )


STUDY = {
    "standard": (normal, lambda q: pv.StandardNormal(LATENT)),
    "vamp": (normal, lambda q: pv.Vamp(q, 500)),
    "flow": (flow, lambda q: pv.StandardNormal(LATENT)),
}


def main(
    epochs: int = 200,
    names: tuple[str, ...] = tuple(STUDY),
    rows: int | None = None,
    tests: int = 1_000,
    k: int = 5_000,
) -> dict[str, torch.Tensor]:
    mnist = pv.data.load("static-mnist")
    # the test split is not in random order: its first thousand digits have more ink than the rest
    x, test = mnist.train[:rows], mnist.test[:: len(mnist.test) // tests][:tests]
    found = {}
    for name in names:
        torch.manual_seed(0)
        variational, prior = STUDY[name]
        q = variational()
        vae = pv.VAE(
            prior=prior(q), likelihood=pv.Bernoulli(X, given=LATENT, net=Gated), variational=q
        )
        steps = epochs * -(-len(x) // 100)
        history = pv.fit(
            vae,
            x,
            epochs=epochs,
            batch_size=100,
            learning_rate=1e-3,
            schedule=lambda adam: torch.optim.lr_scheduler.LambdaLR(
                adam, lambda e: 1 if e < 0.7 * epochs else 0.3 if e < 0.9 * epochs else 0.1
            ),
            objective=pv.KLWeight(pv.Objective(vae), pv.linear(max(1, steps // 5))),
            validation=mnist.validation[: rows and rows // 5],
            compile=True,
            seed=0,
        )
        found[name] = pv.diagnostics.log_evidence(vae, test, num_samples=k, compile=True).value
        error = found[name].std() / math.sqrt(len(test))
        print(
            f"{name:10} log p(x) {found[name].mean():.2f} ± {error:.2f}, "
            f"validation ELBO {history.elbo[-1]:.2f}, {sum(history.seconds) / 60:.1f} minutes",
            flush=True,
        )
    for name in names[1:]:
        gain = found[name] - found[names[0]]
        error = gain.std() / math.sqrt(len(gain))
        print(f"{name} against {names[0]}: {gain.mean():+.2f} ± {error:.2f} nats, paired")
    print(
        f"static MNIST, {len(x)} training images, {len(test)} of the test split evenly spaced, "
        f"L_{k}, last of {epochs} epochs"
    )
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), **({"names": tuple(sys.argv[2:])} if sys.argv[2:] else {}))
