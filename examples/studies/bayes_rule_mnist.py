"""The class of an MNIST image by Bayes' rule, from a conditional VAE (Sohn, Lee & Yan, 2015).

A VAE with the class c as covariate says log p(x|c). The class of an image is then the argmax of
log p(x|c) + log p(c). No classifier is trained. Set PYRO_VAE_DATA to the folder that has MNIST.

    python examples/studies/bayes_rule_mnist.py
    python examples/studies/bayes_rule_mnist.py --short
"""

import argparse
import math
import time
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import one_hot

import pyro_vae as pv

X, Z, K = (1, 28, 28), 20, 10


def build(hidden: int) -> pv.VAE:
    net = partial(pv.networks.mlp, hidden=(hidden, hidden))
    return pv.VAE(
        prior=pv.StandardNormal(Z),
        likelihood=pv.Bernoulli(X, given=[Z, K], net=net),
        variational=pv.Normal(Z, given=[X, K], net=net),
    )


def weigh_classes(vae: pv.VAE, x: Tensor, draws: int) -> Tensor:
    """The log weights of x given each class, `[draws, n, K]`."""
    columns = []
    for label in range(K):
        c = torch.eye(K)[label].expand(len(x), K)
        columns.append(pv.diagnostics.log_weights(vae, x, c, num_samples=draws))
    return torch.stack(columns, -1)


def guess(log_w: Tensor, log_p_c: Tensor) -> Tensor:
    """The argmax of log p(x|c) + log p(c) of each datum, from weights `[draws, n, K]`."""
    log_p_x_given_c = log_w.logsumexp(0) - math.log(len(log_w))
    return (log_p_x_given_c + log_p_c).argmax(-1)


def write_accuracy(guesses: Tensor, labels: Tensor) -> str:
    found = pv.diagnostics.compare_labels(guesses, labels).accuracy
    return f"{found.value:.4f} ± {found.stderr:.4f}"


def main(
    epochs: int = 6,
    rows: int = 50_000,
    hidden: int = 256,
    tests: int = 1_000,
    draws: int = 100,
    seed: int = 0,
) -> float:
    mnist = pv.data.load("mnist")
    x, y = mnist.train[:rows], mnist.labels[0][:rows]
    step = len(mnist.test) // tests
    x_test, y_test = pv.data.binarise(mnist.test[::step][:tests]), mnist.labels[2][::step][:tests]
    log_p_c = torch.bincount(y, minlength=K).div(len(y)).log().double()

    torch.manual_seed(seed)
    vae = build(hidden)
    start = time.perf_counter()
    pv.fit(
        vae,
        x,
        one_hot(y, K).float(),
        epochs=epochs,
        transform=torch.bernoulli,
        seed=seed,
        progress=False,
    )
    trained = time.perf_counter()
    log_w = weigh_classes(vae, x_test, draws)
    measured = time.perf_counter()

    guesses = guess(log_w, log_p_c)
    halves = [guess(half, log_p_c) for half in log_w.chunk(2)]
    changed = (halves[0] != halves[1]).double().mean()
    print(f"class by Bayes' rule, log p(x|c) at {draws} draws: {write_accuracy(guesses, y_test)}")
    print(f"the ELBO in place of it:  {write_accuracy(log_w.mean(0).argmax(-1), y_test)}")
    print(f"one half of the draws names another class than the other for {changed:.1%} of images")
    print(
        f"{len(x)} training images, binarised anew each epoch, {epochs} epochs, z of {Z}, two "
        f"hidden layers of {hidden}, seed {seed}. {len(x_test)} test images, evenly spaced and "
        "binarised. ± is over them. Training took "
        f"{(trained - start) / 60:.1f} minutes, measuring {(measured - trained) / 60:.1f}."
    )
    return (guesses == y_test).double().mean().item()


SHORT = {"epochs": 1, "rows": 2_000, "hidden": 32, "tests": 50, "draws": 4}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="seconds, to see that it runs")
    main(**SHORT if parser.parse_args().short else {})
