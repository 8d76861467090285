"""Digits with few labels: M2 (Kingma, Rezende, Mohamed & Welling, 2014).

Of 1,297 training digits 100 have a label. The unknown labels are summed over. Three ways are
compared: the ELBO alone, the ELBO with the classification term, and the classifier alone.
"""

import torch

import pyro_vae as pv

X, Z, K = (1, 8, 8), 6, 10


def build(name: str) -> pv.LabelledVAE:
    torch.manual_seed(0)
    return pv.LabelledVAE(
        labels=pv.OneHotCategorical(K, logits=0.0),
        prior=pv.StandardNormal(Z),
        likelihood=pv.Bernoulli(X, given=[Z, K]),
        classifier=pv.OneHotCategorical(K, given=X),
        variational=pv.Normal(Z, given=[X, K]),
        name=name,
    )


def train_alone(pair: pv.LabelledVAE, x: torch.Tensor, y: torch.Tensor, steps: int) -> None:
    """Train the classifier of a pair on labels, and nothing else."""
    optimiser = torch.optim.Adam(pair.classifier.parameters(), lr=2e-3)
    labels = torch.nn.functional.one_hot(y, K)
    for _ in range(steps):
        loss = -pair.classifier(torch.bernoulli(x)).log_prob(labels).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def main(
    known: int = 100, epochs: int = 100, weight: float = 50.0, num_samples: int = 50
) -> dict[str, float]:
    digits = pv.data.load("digits")
    x, y = digits.train, digits.labels[0].clone()
    x_test, y_test = pv.data.binarise(digits.test), digits.labels[2]

    alone = build("alone")
    train_alone(alone, x[:known], y[:known], steps=5 * epochs)
    y[known:] = -1
    found = {"the classifier alone": (alone.classifier(x_test).probs.argmax(-1), None)}
    for name in ("ELBO", "ELBO and classification"):
        pair = build(name)
        objective = pv.Objective(pair)
        if name != "ELBO":
            objective = pv.Classification(objective, weight)
        pv.fit(
            pair,
            x,
            y,
            epochs=epochs,
            learning_rate=2e-3,
            objective=objective,
            transform=torch.bernoulli,
            seed=0,
        )
        labels = pv.diagnostics.classify(pair, x_test, num_samples=num_samples, progress=False)
        found[name] = (labels.variational.argmax(-1), labels.guesses)

    print(f"{'test accuracy':26}{'q(y|x)':>16}{'p(y|x)':>18}")
    for name, guesses in found.items():
        cells = [write_accuracy(guess, y_test) for guess in guesses]
        print(f"{name:26}{cells[0]:>16}{cells[1]:>18}")
    return {name: (guess == y_test).double().mean().item() for name, (guess, _) in found.items()}


def write_accuracy(guess: torch.Tensor | None, labels: torch.Tensor) -> str:
    if guess is None:
        return ""
    found = pv.diagnostics.compare_labels(guess, labels).accuracy
    return f"{found.value:.3f} ± {found.stderr:.3f}"


if __name__ == "__main__":
    main()
