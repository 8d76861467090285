"""Importance-weighted training against the plain ELBO, on the first epochs of a published schedule.

Burda, Grosse & Salakhutdinov (2016) train one stochastic layer on dynamic MNIST. 3,280 epochs give
them -86.76 nats with 19 active units for k = 1, and -85.54 with 22 for k = 5. These are the first
121 epochs. One thing differs besides: the scale of q is a softplus, not an exponential. Set
PYRO_VAE_DATA to the folder that has MNIST.

    python examples/iwae.py             # both, 121 epochs
    python examples/iwae.py 13 5        # epochs, k
"""

import math
import sys
from functools import partial

import torch
from torch import nn

import pyro_vae as pv

STAGES = (1, 4, 13, 40, 121, 364, 1093, 3280)


def vae(mean: torch.Tensor) -> pv.VAE:
    net = partial(pv.networks.mlp, hidden=(200, 200), activation=nn.Tanh)
    pair = pv.VAE(
        prior=pv.StandardNormal(50),
        likelihood=pv.Bernoulli((1, 28, 28), given=50, net=net),
        variational=pv.Normal(50, given=(1, 28, 28), net=net),
    )
    layers = [m for m in pair.modules() if isinstance(m, nn.Linear)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    output = next(
        m for m in pair.likelihood.modules() if isinstance(m, nn.Linear) and m.out_features == 784
    )
    output.bias.data = mean.clamp(1e-3, 1 - 1e-3).logit().flatten()
    return pair


def main(
    epochs: int = 121,
    ks: tuple[int, ...] = (1, 5),
    rows: int = 59_600,
    tests: int = 2_000,
    num_samples: int = 5_000,
) -> dict[int, torch.Tensor]:
    mnist = pv.data.load("mnist")
    x, test = mnist.train[:rows], pv.data.binarise(mnist.test[:tests])
    found = {}
    for k in ks:
        torch.manual_seed(0)
        pair = vae(x.mean(0))
        history = pv.fit(
            pair,
            x,
            epochs=epochs,
            batch_size=20,
            objective=pv.Objective(pair, pv.ImportanceWeighted(k)),
            # the published loss is a sum over the batch and ours a mean, so eps is divided by 20
            optimizer=partial(torch.optim.Adam, lr=1e-3, eps=1e-4 / 20, fused=True),
            schedule=partial(
                torch.optim.lr_scheduler.LambdaLR,
                lr_lambda=lambda e: 10 ** (-sum(e >= s for s in STAGES) / 7),
            ),
            transform=torch.bernoulli,
            compile=True,
            seed=0,
        )
        found[k] = pv.diagnostics.log_evidence(
            pair, test, num_samples=num_samples, compile=True
        ).value
        active = int((pair.variational(test).mean.var(0) > 0.01).sum())
        error = found[k].std() / math.sqrt(len(test))
        print(
            f"k = {k}: log p(x) {found[k].mean():.2f} ± {error:.2f}, {active} active units; "
            f"{len(history.loss)} epochs, {sum(history.seconds) / 60:.1f} minutes",
            flush=True,
        )
    for k in ks[1:]:
        gain = found[k] - found[ks[0]]
        error = gain.std() / math.sqrt(len(gain))
        print(f"k = {k} against k = {ks[0]}: {gain.mean():+.2f} ± {error:.2f} nats, paired")
    print(
        f"dynamic MNIST, the first {len(test)} test images binarised once, L_{num_samples}, "
        "last iterate, one seed"
    )
    return found


if __name__ == "__main__":
    arguments = list(map(int, sys.argv[1:]))
    main(*arguments[:1], **({"ks": tuple(arguments[1:])} if arguments[1:] else {}))
