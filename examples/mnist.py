"""A mean-field VAE on static MNIST, against a published run.

The network and optimiser are those of github.com/altosaar/variational-autoencoder: 784-256-256-128
and back, RMSprop. Its log prints a test ELBO of -103.31 and log p(x) of -97.10 nats (128 samples)
after about 65,000 steps. Set PYRO_VAE_DATA to the folder that has binarized_mnist.npz.
"""

import time
from functools import partial

import torch

import pyro_vae as pv


def main(
    epochs: int = 170, rows: int | None = None, num_samples: int = 128
) -> pv.diagnostics.Picture:
    torch.manual_seed(0)
    mnist = pv.data.load("static-mnist")
    net = partial(pv.networks.mlp, hidden=(256, 256))
    vae = pv.VAE(
        prior=pv.StandardNormal(128),
        likelihood=pv.Bernoulli((1, 28, 28), given=128, net=net),
        variational=pv.Normal(128, given=(1, 28, 28), net=net),
    )

    start = time.monotonic()
    history = pv.fit(
        vae,
        mnist.train[:rows],
        epochs=epochs,
        batch_size=128,
        # the published loss is a sum over the batch and ours a mean, so eps is divided by 128
        optimizer=partial(torch.optim.RMSprop, lr=1e-3, centered=True, eps=1e-8 / 128),
        validation=mnist.validation[:rows],
        seed=0,
    )
    minutes = (time.monotonic() - start) / 60
    steps = len(history.loss) * -(-len(mnist.train[:rows]) // 128)

    picture = pv.diagnostics.picture(vae, mnist.test[:rows], num_samples=num_samples)
    print(f"{steps} steps in {minutes:.1f} minutes; static MNIST, test split, last iterate\n")
    print(picture)
    print("\npublished: ELBO -103.31, log p(x) -97.10")
    return picture


if __name__ == "__main__":
    main()
