"""Two levels of latents against one, on static MNIST, importance-weighted.

The networks are those of Burda, Grosse & Salakhutdinov (2016), tanh throughout. One level has 50
latents, two have 100 and 50. The published q goes bottom-up. The top-down one is that of a ladder
(Sønderby et al., 2016): both levels share what an encoder of the same width makes of x. Data,
epochs, batches, learning rates, KL warm-up and seed are the same for all. Set PYRO_VAE_DATA to the
folder that has binarized_mnist.npz.

    python examples/studies/levels_mnist.py                  # all three
    python examples/studies/levels_mnist.py --epochs 100 one bottom-up
    python examples/studies/levels_mnist.py --short          # seconds
"""

import argparse
import math
import time
from functools import partial

import torch
from torch import Tensor, nn

import pyro_vae as pv

X, NAMES = (1, 28, 28), ("one", "bottom-up", "top-down")
SHORT = {"epochs": 1, "rows": 200, "tests": 20, "num_samples": 20}
PUBLISHED = """\
Published, on dynamic MNIST, which is another data set, -L_5000 (active units), 3,280 epochs:
  one level,  k = 1 / 5 / 50:  86.76 (19)   / 85.54 (22)   / 84.78 (25)
  two levels, k = 1 / 5 / 50:  85.33 (16+5) / 83.89 (21+5) / 82.90 (26+7)
On static MNIST, one level:  88.71 / 87.63 / 87.10.
What differs here: {epochs} epochs, batches of 100 and not 20, a cosine schedule, a KL warm-up, a
softplus for the scale of q and not an exponential, {tests} test images, -L_{num_samples}."""


def make_net(width: int) -> partial:
    return partial(pv.networks.mlp, hidden=(width, width), activation=nn.Tanh)


def build(name: str, mean: Tensor) -> nn.Module:
    """A pair with the published initial weights, always from the same seed."""
    torch.manual_seed(0)
    wide, narrow = make_net(200), make_net(100)
    pair: nn.Module
    if name == "one":
        pair = pv.VAE(
            prior=pv.StandardNormal(50),
            likelihood=pv.Bernoulli(X, given=50, net=wide),
            variational=pv.Normal(50, given=X, net=wide),
        )
    elif name == "bottom-up":
        pair = stack([pv.Normal(100, given=X, net=wide), pv.Normal(50, given=100, net=narrow)])
    else:
        encoder = [nn.Linear(784, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh()]
        pair = stack(
            [pv.Normal(50, given=200, net=narrow), pv.Normal(100, given=[200, 50], net=narrow)],
            order="top_down",
            encoder=nn.Sequential(nn.Flatten(-3), *encoder),
        )

    for layer in pair.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
            if layer.out_features == math.prod(X):
                layer.bias.data = mean.clamp(1e-3, 1 - 1e-3).logit().flatten()
    return pair


def stack(variationals: list[nn.Module], **options) -> pv.HierarchicalVAE:
    """Two levels: z2 ~ N(0, I) of 50 numbers, z1 ~ p(z1|z2) of 100, x ~ p(x|z1)."""
    return pv.HierarchicalVAE(
        priors=[pv.StandardNormal(50), pv.Normal(100, given=50, net=make_net(100))],
        likelihood=pv.Bernoulli(X, given=100, net=make_net(200)),
        variationals=variationals,
        **options,
    )


def train(pair: nn.Module, x: Tensor, epochs: int, k: int, warm_up: float) -> pv.History:
    """The learning rate falls from 3e-3 along a cosine, the KL weight rises in the first epochs."""
    objective = pv.Objective(pair, pv.ImportanceWeighted(k))
    steps = int(warm_up * -(-len(x) // 100))
    return pv.fit(
        pair,
        x,
        epochs=epochs,
        batch_size=100,
        learning_rate=3e-3,
        objective=pv.KLWeight(objective, pv.linear(steps)) if steps else objective,
        schedule=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs, eta_min=3e-5),
        compile=True,
        seed=0,
        progress=False,
    )


def describe(pair: nn.Module, x: Tensor) -> str:
    """What each level costs and says, and how many of its units are active."""
    found = pv.diagnostics.latents(pair, x, progress=False)
    if found.levels is None:
        return f"  {int(found.active.sum())} of {len(found.active)} units active"
    return "\n".join(
        f"  {name}: log q/p {level.kl.value:.2f} ± {level.kl.stderr:.2f}, "
        f"{int(level.active.sum())} of {len(level.active)} units active"
        for name, level in found.levels.items()
    )


def main(
    names: tuple[str, ...] = NAMES,
    epochs: int = 16,
    k: int = 5,
    warm_up: float = 2,
    rows: int | None = None,
    tests: int = 1_000,
    num_samples: int = 1_000,
) -> dict[str, Tensor]:
    start = time.time()
    mnist = pv.data.load("static-mnist")
    # the test split is not in random order, so the images are taken evenly spaced
    x, test = mnist.train[:rows], mnist.test[:: len(mnist.test) // tests][:tests]
    found = {}
    for name in names:
        pair = build(name, x.mean(0))
        history = train(pair, x, epochs, k, warm_up)
        found[name] = pv.diagnostics.log_evidence(
            pair, test, num_samples=num_samples, compile=num_samples > 100, progress=False
        ).value
        error = found[name].std() / math.sqrt(len(test))
        minutes = sum(history.seconds) / 60
        print(f"{name:10} log p(x) {found[name].mean():.2f} ± {error:.2f}, {minutes:.1f} minutes")
        print(describe(pair, test), flush=True)

    for name in names[1:]:
        gain = found[name] - found[names[0]]
        error = gain.std() / math.sqrt(len(gain))
        print(f"{name} against {names[0]}: {gain.mean():+.2f} ± {error:.2f} nats, paired")
    print(
        f"static MNIST, {len(x)} training images, {len(test)} of the test split, k = {k}, "
        f"{warm_up} epochs of warm-up, seed 0, {(time.time() - start) / 60:.1f} minutes in all"
    )
    print(PUBLISHED.format(epochs=epochs, tests=len(test), num_samples=num_samples))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, choices=[*NAMES, []])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--warm-up", type=float, default=2)
    parser.add_argument("--short", action="store_true")
    options = vars(parser.parse_args())
    short = SHORT if options.pop("short") else {}
    main(**options | {"names": tuple(options["names"])} | short)
