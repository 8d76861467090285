"""Priors × likelihoods × variationals on the same data, compared by log p(x). A swap is one line.

The data are images with pixels rounded to 17 levels, 0 to 16, as the digits come. All likelihoods
here are distributions over those levels, so their log p(x) may be compared. They may not be
compared with log p(x) of binarised or grey pixels.

    python examples/swap.py             # the digits of scikit-learn
    python examples/swap.py digits 300  # with more epochs, which the richer priors ask for
    python examples/swap.py mnist       # 5,000 rows of MNIST, about an hour

MNIST is looked for in the folder that PYRO_VAE_DATA names.
"""

import sys

import torch
import zuko

import pyro_vae as pv

LATENT = 8
PRIORS = {
    "standard normal": lambda q, x: pv.StandardNormal(LATENT),
    "mixture of 10": lambda q, x: pv.Mixture(pv.Normal, LATENT, components=10),
    "Vamp, 50 inputs": lambda q, x: pv.Vamp(q, x[:50]),
}
LIKELIHOODS = {
    "discretised logistic": lambda shape: pv.DiscretisedLogistic(shape, given=LATENT, levels=17),
    "binomial": lambda shape: pv.Binomial(shape, given=LATENT, total_count=16),
    "ordinal": lambda shape: pv.Ordinal(shape, given=LATENT, classes=17),
}
VARIATIONALS = {
    "normal": lambda shape: pv.Normal(LATENT, given=shape),
    "full normal": lambda shape: pv.MultivariateNormal(LATENT, given=shape),
    "flow": lambda shape: pv.Flow(LATENT, given=shape, flow=zuko.flows.MAF),
}
Found = dict[tuple[str, str, str], torch.Tensor]


def main(
    name: str = "digits",
    epochs: int = 60,
    rows: int = 5_000,
    tests: int = 300,
    num_samples: int = 200,
) -> Found:
    """log p(x) of each test datum, by prior, likelihood and variational."""
    data = pv.data.load(name)
    x, x_test = ((16 * d).round() for d in (data.train[:rows], data.test[:tests]))
    print(
        f"{name}, {len(x)} rows, {epochs} epochs; log p(x) in nats, L_{num_samples} of "
        f"{len(x_test)} test data\n"
    )
    print(f"{'':40}" + "".join(f"{'q: ' + q:>18}" for q in VARIATIONALS))

    found: Found = {}
    for p_name, likelihood in LIKELIHOODS.items():
        for prior_name, prior in PRIORS.items():
            print(f"{p_name:22}{prior_name:18}", end="", flush=True)
            for q_name, variational in VARIATIONALS.items():
                torch.manual_seed(0)
                q = variational(x.shape[1:])
                vae = pv.VAE(prior=prior(q, x), likelihood=likelihood(x.shape[1:]), variational=q)
                pv.fit(vae, x, epochs=epochs, seed=0, progress=False)
                evidence = pv.diagnostics.log_evidence(
                    vae, x_test, num_samples=num_samples, progress=False
                )
                found[prior_name, p_name, q_name] = evidence.value
                print(
                    "{:11.2f} ±{:5.2f}".format(*mean_and_error(evidence.value)), end="", flush=True
                )
            print()

    first, *_ = found
    best = max(found, key=lambda key: found[key].mean())
    print(
        "\n± is the standard error over the test data. Against {}, {} and {}, paired:".format(
            *first
        )
    )
    for role, of in enumerate(("prior", "likelihood", "variational")):
        swapped = first[:role] + best[role : role + 1] + first[role + 1 :]
        print(
            "{:12}{:22}{:+8.2f} ±{:5.2f}".format(
                of, best[role], *mean_and_error(found[swapped] - found[first])
            )
        )
    print("{:34}{:+8.2f} ±{:5.2f}".format("all three", *mean_and_error(found[best] - found[first])))
    return found


def mean_and_error(value: torch.Tensor) -> tuple[float, float]:
    return value.mean().item(), value.std().item() / len(value) ** 0.5


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
