"""An epoch of `pv.fit` beside the same loop written by hand in plain PyTorch, interleaved.

784-400-20 on MNIST, batch 128, dynamic binarisation, Adam (fused in both), data in memory in both.

    PYRO_VAE_DATA=folder python benchmarks/fit.py
"""

import statistics
import sys
import time
from functools import partial

import torch
from torch import nn

import pyro_vae as pv


def by_hand(x: torch.Tensor) -> float:
    """The seconds of one epoch."""
    encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 40))
    decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    x = x.flatten(1)
    start = time.perf_counter()
    for index in torch.randperm(len(x)).split(128):
        batch = torch.bernoulli(x[index])
        loc, raw = encoder(batch).chunk(2, -1)
        scale = nn.functional.softplus(raw)
        z = loc + scale * torch.randn_like(loc)
        reconstruction = nn.functional.binary_cross_entropy_with_logits(decoder(z), batch, reduction="sum")
        kl = 0.5 * (loc**2 + scale**2 - 1 - 2 * scale.log()).sum()
        loss = (reconstruction + kl) / len(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        loss.item()
        optimizer.step()
    return time.perf_counter() - start


def ours(x: torch.Tensor) -> float:
    """The seconds of one epoch, with what `fit` measures at its end."""
    net = partial(pv.networks.mlp, hidden=(400,))
    vae = pv.VAE(
        prior=pv.StandardNormal(20),
        likelihood=pv.Bernoulli((1, 28, 28), given=20, net=net),
        variational=pv.Normal(20, given=(1, 28, 28), net=net),
    )
    return pv.fit(vae, x, epochs=1, transform=torch.bernoulli, seed=0, progress=False).seconds[0]


def main(rows: int | None = None, repeats: int = 7) -> float:
    x = pv.data.load("mnist").train[:rows]
    by_hand(x[:1280]), ours(x[:1280])
    times = [(ours(x), by_hand(x)) for _ in range(repeats)]
    print(f"{'seconds an epoch':16}{'minimum':>10}{'quartile':>10}{'median':>10}")
    for name, column in zip(("pv.fit", "by hand"), zip(*times, strict=True), strict=True):
        quartile = statistics.quantiles(column, n=4)[0]
        print(f"{name:16}{min(column):10.2f}{quartile:10.2f}{statistics.median(column):10.2f}")
    ratio = statistics.median(a / b for a, b in times)
    print(
        f"ratio, median of {repeats} pairs: {ratio:.2f}; torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    return ratio


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
