"""Poisson, negative binomial and zero-inflated negative binomial, on 700 blood cells.

One network, with the library size of each cell as a covariate, as in scVI (Lopez et al., 2018): 10
latents, 128 hidden units, a dispersion for each gene. log p(x|l) of held-out cells is annealed,
because q(z|x) is too narrow for importance sampling on cells that it was not trained on. Set
PYRO_VAE_DATA to the folder that has pbmc68k.npz.

    python examples/studies/counts_pbmc.py
    python examples/studies/counts_pbmc.py --seeds 1
    python examples/studies/counts_pbmc.py --short          # some seconds
"""

import argparse
import time
from functools import partial

import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

import pyro_vae as pv

LATENTS, TYPES, NEIGHBOURS = 10, 10, 5
net = partial(pv.networks.mlp, hidden=(128,))
LIKELIHOODS = {
    "Poisson": partial(pv.GammaPoisson, dispersion=0.0),
    "NB": partial(pv.GammaPoisson, dispersion="free"),
    "ZINB": partial(pv.ZeroInflatedGammaPoisson, dispersion="free"),
}
DIFFERS = """\
Here differ from scVI: 700 cells and 765 genes, not tens of thousands of cells; no batch norm and no
dropout; no batches; the library size counts all genes of the cell, and is given, not inferred."""


def train(name: str, data: pv.data.Dataset, epochs: int, seed: int) -> pv.VAE:
    torch.manual_seed(seed)
    genes = data.train.shape[1]
    vae = pv.VAE(
        prior=pv.StandardNormal(LATENTS),
        likelihood=pv.exposed(LIKELIHOODS[name](genes, given=LATENTS, net=net), others=True),
        variational=pv.Normal(LATENTS, given=genes, net=pv.networks.logged(net)),
    )
    x, validation, _ = zip(data[:3], data.covariates, strict=True)
    pv.fit(
        vae,
        *x,
        epochs=epochs,
        batch_size=100,
        learning_rate=1e-2,
        validation=validation,
        patience=30,
        seed=seed,
        progress=False,
    )
    return vae


def compare_codes(codes: list[Tensor], labels: tuple[Tensor, ...]) -> str:
    """How far clusters and neighbours of codes agree with the types of cells."""
    everything, truth = torch.cat(codes).numpy(), torch.cat(labels)
    clusters = KMeans(TYPES, n_init=10, random_state=0).fit_predict(everything)
    nmi = pv.diagnostics.compare_labels(torch.tensor(clusters).long(), truth).nmi

    known = KNeighborsClassifier(NEIGHBOURS).fit(torch.cat(codes[:2]), torch.cat(labels[:2]))
    guesses = torch.tensor(known.predict(codes[2]))
    right = pv.diagnostics.compare_labels(guesses, labels[2]).accuracy
    return (
        f"k-means NMI {nmi.value:.3f} ± {nmi.stderr:.3f}, "
        f"{NEIGHBOURS} neighbours {right.value:.3f} ± {right.stderr:.3f}"
    )


def find_components(data: pv.data.Dataset) -> list[Tensor]:
    """Principal components of log(1 + counts in 10,000), the usual baseline."""
    pairs = zip(data[:3], data.covariates, strict=True)
    logs = [torch.log1p(1e4 * x / size[:, None]) for x, size in pairs]
    pca = PCA(LATENTS, random_state=0).fit(torch.cat(logs[:2]))
    return [torch.tensor(pca.transform(part)) for part in logs]


def write_mean(value: Tensor, stderr: Tensor) -> str:
    error = value.std() / len(value) ** 0.5
    noise = stderr.square().sum().sqrt() / len(value)
    return f"{value.mean():9.2f} ± {error:.2f} (Monte Carlo {noise:.2f})"


def main(
    seeds: int = 2,
    epochs: int = 150,
    tests: int = 140,
    num_steps: int = 30,
    num_chains: int = 5,
    num_samples: int = 500,
) -> dict[str, Tensor]:
    start = time.time()
    data = pv.data.load("pbmc68k")
    held_out = data.test[:tests], data.covariates[2][:tests]
    print(f"principal components: {compare_codes(find_components(data), data.labels)}")

    found: dict[str, list[Tensor]] = {name: [] for name in LIKELIHOODS}
    for seed in range(seeds):
        best = {}
        for name in LIKELIHOODS:
            vae = train(name, data, epochs, seed)
            torch.manual_seed(seed)
            best[name] = pv.diagnostics.annealed_log_evidence(
                vae,
                *held_out,
                num_steps=num_steps,
                num_chains=num_chains,
                num_leapfrog=5,
                progress=False,
            )
            sampled = pv.diagnostics.log_evidence(
                vae, *held_out, num_samples=num_samples, progress=False
            )
            with torch.no_grad():
                codes = [vae.variational(x).mean for x in data[:3]]
            print(
                f"seed {seed}, {name}: log p(x|l) {write_mean(best[name].value, best[name].stderr)}"
            )
            unsure = int((sampled.khat > 0.7).sum())
            print(f"    by importance sampling {sampled.value.mean():.2f}, k̂ > 0.7 for {unsure}")
            print(f"    codes: {compare_codes(codes, data.labels)}", flush=True)
            found[name].append(best[name].value)
        for name in ("Poisson", "ZINB"):
            less = best[name].value - best["NB"].value
            noise = (best[name].stderr.square() + best["NB"].stderr.square()).sqrt()
            print(f"seed {seed}, {name} against NB, paired: {write_mean(less, noise)}", flush=True)
    print(
        f"nats a cell; {tests} held-out cells, errors are over the cells; seeds 0 to {seeds - 1}, "
        f"{(time.time() - start) / 60:.1f} minutes"
    )
    print(DIFFERS)
    return {name: torch.stack(values) for name, values in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    short = {
        "seeds": 1,
        "epochs": 2,
        "tests": 10,
        "num_steps": 3,
        "num_chains": 2,
        "num_samples": 20,
    }
    chosen = {"seeds": options.seeds, "epochs": options.epochs}
    main(**(short if options.short else chosen))
