"""Genes counted in single cells: library size and batch as covariates (Lopez et al., 2018).

The cells are simulated, so the truth is known. Each is of one of four types and in one of two
batches, and both say how often each gene is read. How many genes are read in all is given.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.distributions import LogNormal
from torch.nn.functional import one_hot

import pyro_vae as pv

GENES, TYPES, BATCHES = 60, 4, 2
net = partial(pv.networks.mlp, hidden=(64,))


class Cells:
    """Draws of cells, and their log p(x|c)."""

    def __init__(self):
        self.profiles = torch.randn(TYPES, GENES)
        self.shifts = 0.7 * torch.randn(BATCHES, GENES)
        self.dispersion = LogNormal(-1.0, 0.7).sample((GENES,))

    def given(self, label: Tensor, batch: Tensor, size: Tensor):
        log_share = (self.profiles[label] + batch @ self.shifts).log_softmax(-1)
        log_mean = log_share + size[:, None].log()
        return pv.distributions.GammaPoisson(log_mean, self.dispersion)

    def draw(self, n: int) -> tuple[Tensor, ...]:
        label, batch = torch.randint(TYPES, (n,)), one_hot(torch.randint(BATCHES, (n,))).float()
        size = LogNormal(5.5, 0.5).sample((n,))
        return label, self.given(label, batch, size).sample(), batch, size

    def log_evidence(self, x: Tensor, batch: Tensor, size: Tensor) -> Tensor:
        labels = [torch.full((len(x),), label) for label in range(TYPES)]
        each = [self.given(label, batch, size).log_prob(x).sum(-1) for label in labels]
        return torch.stack(each).logsumexp(0) - np.log(TYPES)


def main(epochs: int = 60, n: int = 1500, num_samples: int = 500) -> dict[str, float]:
    torch.manual_seed(0)
    cells = Cells()
    label, x, batch, size = cells.draw(n)
    _, *held_out = cells.draw(300)

    truth, found = cells.log_evidence(*held_out), {}
    for name, dispersion in {"Poisson": 0.0, "negative binomial": "free"}.items():
        likelihood = pv.GammaPoisson(GENES, given=[5, 2], net=net, dispersion=dispersion)
        vae = pv.VAE(
            prior=pv.StandardNormal(5),
            likelihood=pv.exposed(likelihood),
            variational=pv.Normal(5, given=[GENES, 2], net=pv.networks.logged(net)),
        )
        pv.fit(vae, x, batch, size, epochs=epochs, learning_rate=3e-3, seed=0, progress=False)
        seen = pv.diagnostics.log_evidence(vae, *held_out, num_samples=num_samples, progress=False)
        loss = seen.value - truth
        found[name] = loss.mean().item()
        error = loss.std().item() / len(loss) ** 0.5
        print(f"{name:18} log p(x|c) - the true one, {found[name]:8.2f} ± {error:.2f} nats")

    with torch.no_grad():
        codes = vae.variational(x, batch).mean
        learned = likelihood(codes, batch).base_dist.dispersion
    np.savetxt("cells.csv", codes, delimiter=",")
    found["dispersion"] = torch.corrcoef(torch.stack([learned, cells.dispersion]).log())[
        0, 1
    ].item()
    for name, which in {"type": label, "batch": batch.argmax(1)}.items():
        nearest = torch.cdist(codes, codes).fill_diagonal_(torch.inf).argmin(1)
        found[name] = (which[nearest] == which).double().mean().item()
        print(f"{name} of the nearest other cell in cells.csv, the same for {found[name]:.3f}")
    print(f"correlation of log dispersion, learned and true: {found['dispersion']:.3f}")
    return found


if __name__ == "__main__":
    main()
