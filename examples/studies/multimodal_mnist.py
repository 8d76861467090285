"""Image and label of MNIST from one latent: objectives that train on subsets, or weigh the label.

The label is guessed from the image alone, and images are drawn from the label alone. Both go by
q(z | x) and by weighted draws. A classifier of images, trained beside, says whether an image has
the class of its label.

Wu & Goodman (2018) train on both modalities together and on each alone, for 500 epochs, with the KL
warmed up over 200, z of 64 numbers, grey images under a Bernoulli, and a weight on the label (10 is
the default of their code). What differs here: 4 epochs of 20,000 images, the KL warmed up over half
of them, images binarised anew at each step, z of 16, smaller nets, and test images taken evenly
spaced. Set PYRO_VAE_DATA to the folder that has MNIST.

    python examples/studies/multimodal_mnist.py           # 11 minutes on two crowded cores
    python examples/studies/multimodal_mnist.py --short   # seconds, on a few images
"""

import sys
import time
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

import pyro_vae as pv

X, K = (1, 28, 28), 10
SHORT = {"epochs": 1, "rows": 300, "tests": 40, "num_samples": 10, "width": 32}


def make_pair(latent: int, width: int) -> pv.MultimodalVAE:
    """The same start for every objective."""
    torch.manual_seed(0)
    net = partial(pv.networks.mlp, hidden=(width, width))
    return pv.MultimodalVAE(
        prior=pv.StandardNormal(latent),
        likelihoods={
            "image": pv.Bernoulli(X, given=latent, net=net),
            "label": pv.OneHotCategorical(K, given=latent, net=net),
        },
        experts={
            "image": pv.Normal(latent, given=X, net=net),
            "label": pv.Normal(latent, given=K, net=net),
        },
    )


def weigh_label(weight: float):
    return lambda pair: pv.LikelihoodWeights(pv.Subsets(pv.Objective(pair)), {"label": weight})


OBJECTIVES = {
    "together": pv.Objective,
    "subsets": lambda pair: pv.Subsets(pv.Objective(pair)),
    "subsets, label x 10": weigh_label(10.0),
    "subsets, label x 50": weigh_label(50.0),
}


def train_classifier(image: Tensor, y: Tensor, epochs: int) -> nn.Module:
    """Classes of binarised images, to judge by."""
    torch.manual_seed(0)
    net = pv.networks.mlp([X], (K,), hidden=(256,))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).split(128):
            loss = nn.functional.cross_entropy(net(torch.bernoulli(image[rows])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


def measure(
    pair: pv.MultimodalVAE, image: Tensor, y: Tensor, judge: nn.Module, num_samples: int
) -> tuple[dict[str, pv.diagnostics.Estimate], pv.diagnostics.Coherence]:
    """The label from the image by q and by weights, and the coherence of both."""
    torch.manual_seed(0)
    label = one_hot(y, K).float()
    unknown = torch.full_like(label, torch.nan)
    found = pv.diagnostics.cross_generate(
        pair, image, unknown, num_samples=num_samples, progress=False
    )
    guesses = {"q": found.variational["label"], "weights": found.posterior["label"]}
    accuracy = {
        way: pv.diagnostics.compare_labels(p.value.argmax(-1), y).accuracy
        for way, p in guesses.items()
    }
    coherence = pv.diagnostics.coherence(
        pair,
        image,
        label,
        classify={"image": lambda x: judge(x).argmax(-1), "label": lambda y: y.argmax(-1)},
        num_samples=num_samples,
        simulations=2000,
        progress=False,
    )
    return accuracy, coherence


def main(
    epochs: int = 4,
    rows: int = 20_000,
    tests: int = 500,
    num_samples: int = 200,
    latent: int = 16,
    width: int = 256,
) -> dict[str, tuple]:
    data = pv.data.load("mnist")
    image, y = data.train[:rows], data.labels[0][:rows]
    spaced = torch.linspace(0, len(data.test) - 1, tests).long()
    x_test, y_test = pv.data.binarise(data.test[spaced]), data.labels[2][spaced]
    judge = train_classifier(image, y, 3)
    right = pv.diagnostics.compare_labels(judge(x_test).argmax(-1), y_test).accuracy
    print(f"{data}\nthe classifier that judges: {right.value:.3f} ± {right.stderr:.3f} are right")

    results = {}
    warm_up = max(1, epochs * len(image) // 128 // 2)
    for name, make_objective in OBJECTIVES.items():
        began = time.monotonic()
        pair = make_pair(latent, width)
        pv.fit(
            pair,
            image,
            one_hot(y, K).float(),
            epochs=epochs,
            transform=torch.bernoulli,
            objective=pv.KLWeight(make_objective(pair), pv.linear(warm_up)),
            seed=0,
            progress=False,
        )
        accuracy, coherence = results[name] = measure(pair, x_test, y_test, judge, num_samples)
        minutes = (time.monotonic() - began) / 60
        said = ", ".join(f"{way} {e.value:.3f} ± {e.stderr:.3f}" for way, e in accuracy.items())
        print(f"\n{name}, {minutes:.1f} minutes\nlabel from image, right: {said}\n{coherence}")
    print(
        f"\n{epochs} epochs of {len(image)} images, z of {latent}, width {width}, {tests} test "
        f"images, {num_samples} draws, seed 0; ± is the standard error over test images and draws"
    )
    return results


if __name__ == "__main__":
    main(**(SHORT if "--short" in sys.argv else {}))
