"""Three priors × three likelihoods on the same data, compared by log p(x): each swap is one line.

The data are grey digits in [0, 1], so log p(x) is a log-density, and comparable between likelihoods with the same
support; pixels are moved off 0 and 1, where the density of a Beta is infinite.
"""

import torch

import pyro_vae as pv

PRIORS = {
    "standard normal": lambda q, x: pv.StandardNormal(8),
    "mixture of 10": lambda q, x: pv.Mixture(pv.Normal, 8, components=10),
    "Vamp, 50 inputs": lambda q, x: pv.Vamp(q, x[:50]),
}
LIKELIHOODS = {
    "continuous Bernoulli": lambda: pv.ContinuousBernoulli((1, 8, 8), given=8),
    "normal, scale 0.15": lambda: pv.Normal((1, 8, 8), given=8, scale=0.15),
    "Laplace": lambda: pv.Laplace((1, 8, 8), given=8),
}


def main(epochs: int = 60, num_samples: int = 1000) -> dict[tuple[str, str], float]:
    digits = pv.data.load("digits")
    x, x_test = (d * 0.98 + 0.01 for d in (digits.train, digits.test))

    print(f"{'log p(x), nats':22}" + "".join(f"{name:>26}" for name in LIKELIHOODS))
    found = {}
    for prior_name, prior in PRIORS.items():
        print(f"{prior_name:22}", end="", flush=True)
        for likelihood_name, likelihood in LIKELIHOODS.items():
            torch.manual_seed(0)
            q = pv.Normal(8, given=(1, 8, 8))
            vae = pv.VAE(prior=prior(q, x), likelihood=likelihood(), variational=q)
            pv.fit(vae, x, epochs=epochs, seed=0, progress=False)
            evidence = pv.diagnostics.log_evidence(vae, x_test, num_samples=num_samples, progress=False)
            mean, spread = evidence.value.mean().item(), evidence.value.std().item() / len(x_test) ** 0.5
            print(f"{mean:18.2f} ± {spread:5.2f}", end="", flush=True)
            found[prior_name, likelihood_name] = mean
        print()
    print("\n± is the standard error over the test data.")
    return found


if __name__ == "__main__":
    main()
