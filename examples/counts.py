"""Likelihoods for counts on the same data: digits with counts of ink from 0 to 16 as pixels.

All of them are distributions over whole numbers, so their log p(x) can be compared. Some also give
probability to counts above 16, which do not occur.
"""

import torch

import pyro_vae as pv

LIKELIHOODS = {
    "Poisson": lambda **to: pv.Poisson(**to),
    "negative binomial": lambda **to: pv.NegativeBinomial(**to),
    "zero-inflated Poisson": lambda **to: pv.ZeroInflatedPoisson(**to),
    "zero-inflated neg. binomial": lambda **to: pv.ZeroInflatedNegativeBinomial(**to),
    "binomial, 16 trials": lambda **to: pv.Binomial(**to, total_count=16),
    "discretised logistic": lambda **to: pv.DiscretisedLogistic(**to, levels=17),
    "mixture of 3 of them": lambda **to: pv.DiscretisedLogisticMixture(
        **to, levels=17, components=3
    ),
    "ordinal": lambda **to: pv.Ordinal(**to, classes=17),
    "ordinal, common thresholds": lambda **to: pv.Ordinal(
        **to, classes=17, gaps=torch.ones(1, 8, 8, 15)
    ),
    "categorical": lambda **to: pv.Categorical(**to, classes=17),
}


def main(epochs: int = 60, num_samples: int = 500) -> dict[str, float]:
    digits = pv.data.load("digits")
    x, x_test = ((16 * d).round() for d in (digits.train, digits.test))

    print(f"{'log p(x), nats':30}{'mean':>10}{'± error':>10}{'against the best':>22}")
    found = {}
    for name, likelihood in LIKELIHOODS.items():
        torch.manual_seed(0)
        vae = pv.VAE(
            prior=pv.StandardNormal(8),
            likelihood=likelihood(event_shape=(1, 8, 8), given=8),
            variational=pv.Normal(8, given=(1, 8, 8)),
        )
        pv.fit(vae, x, epochs=epochs, seed=0, progress=False)
        found[name] = pv.diagnostics.log_evidence(
            vae, x_test, num_samples=num_samples, progress=False
        ).value

    best = max(found.values(), key=lambda value: value.mean())
    for name, value in sorted(found.items(), key=lambda row: row[1].mean()):
        (mean, error), (less, paired) = (
            (d.mean().item(), d.std().item() / len(d) ** 0.5) for d in (value, value - best)
        )
        print(f"{name:30}{mean:10.2f}{error:10.2f}{less:12.2f} ± {paired:.2f}")
    print("\n± is the standard error over the test data; that of a difference is paired.")
    return {name: value.mean().item() for name, value in found.items()}


if __name__ == "__main__":
    main()
