"""A conditional VAE of the digits: given the class, z says how it is written (Sohn et al., 2015).

log p(x|c) for each class c also tells the class of a digit, by Bayes' rule.
"""

import torch
from torch.nn.functional import one_hot

import pyro_vae as pv
from pyro_vae.look import plots

CLASSES = 10


def main(epochs: int = 60, num_samples: int = 100) -> float:
    torch.manual_seed(0)
    digits = pv.data.load("digits")
    x, c = digits.train, one_hot(digits.labels[0], CLASSES).float()
    x_test, y_test = pv.data.binarise(digits.test), digits.labels[2]

    vae = pv.VAE(
        prior=pv.StandardNormal(6),
        likelihood=pv.Bernoulli((1, 8, 8), given=[6, CLASSES]),
        variational=pv.Normal(6, given=[(1, 8, 8), CLASSES]),
    )
    pv.fit(vae, x, c, epochs=epochs, transform=torch.bernoulli, seed=0)
    print(vae)

    for_each_class = []
    for label in range(CLASSES):
        given = one_hot(torch.full_like(y_test, label), CLASSES).float()
        found = pv.diagnostics.log_evidence(
            vae, x_test, given, num_samples=num_samples, progress=False
        )
        for_each_class.append(found.value)
    guesses = torch.stack(for_each_class).argmax(0)
    accuracy = (guesses == y_test).double().mean().item()
    error = (accuracy * (1 - accuracy) / len(y_test)) ** 0.5

    drawn = pv.simulate(vae, CLASSES, given=torch.eye(CLASSES), mean=True)["x"]
    plots.data(drawn, title="a draw for each class").savefig("conditional.png")
    print(f"class by Bayes' rule, argmax of log p(x|c): {accuracy:.3f} ± {error:.3f} are right")
    print("conditional.png has a draw for each class")
    return accuracy


if __name__ == "__main__":
    main()
