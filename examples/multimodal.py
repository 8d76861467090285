"""Image and label of a digit from one latent: a product of experts (Wu & Goodman, 2018).

Every third training digit lacks its label. The pair is trained on image and label together, and
then on subsets of them. On both together q(z | image) is not asked to stand alone. So the label is
guessed from the image by q(z | x), and by Bayes' rule with weighted draws. The coherence says
whether images and labels agree when they are drawn, by the word of a classifier of images.
"""

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import one_hot

import pyro_vae as pv

X, Z, K = (1, 8, 8), 6, 10


def build() -> pv.MultimodalVAE:
    torch.manual_seed(0)
    return pv.MultimodalVAE(
        prior=pv.StandardNormal(Z),
        likelihoods={
            "image": pv.Bernoulli(X, given=Z),
            "label": pv.OneHotCategorical(K, given=Z),
        },
        experts={"image": pv.Normal(Z, given=X), "label": pv.Normal(Z, given=K)},
    )


def main(epochs: int = 100, num_samples: int = 500) -> dict[str, float]:
    digits = pv.data.load("digits")
    image, label = digits.train, one_hot(digits.labels[0], K).float()
    label[::3] = torch.nan
    x_test, y_test = pv.data.binarise(digits.test), digits.labels[2]
    known, unknown = one_hot(y_test, K).float(), torch.full((len(y_test), K), torch.nan)

    judge = LogisticRegression(max_iter=500)
    judge.fit(pv.data.binarise(image).flatten(1), digits.labels[0])

    def see(x: Tensor) -> Tensor:
        return torch.as_tensor(judge.predict(x.flatten(1)))

    right = {}
    for name, make in {"together": pv.Objective, "subsets": subsets}.items():
        pair = build()
        objective = pv.KLWeight(make(pair), pv.linear(5 * epochs))
        pv.fit(
            pair,
            image,
            label,
            epochs=epochs,
            transform=torch.bernoulli,
            objective=objective,
            seed=0,
        )
        found = pv.diagnostics.cross_generate(
            pair, x_test, unknown, num_samples=num_samples, progress=False
        )
        print(f"\ntrained {name}: the label from the image is right for")
        for way, p in {
            "q": found.variational["label"],
            "weights": found.posterior["label"],
        }.items():
            share = pv.diagnostics.compare_labels(p.value.argmax(-1), y_test).accuracy
            right[f"{name}, {way}"] = share.value
            print(f"  {share.value:.3f} ± {share.stderr:.3f} by {way}")
        print(
            pv.diagnostics.coherence(
                pair,
                x_test,
                known,
                classify={"image": see, "label": lambda y: y.argmax(-1)},
                num_samples=num_samples,
                progress=False,
            )
        )
    return right


def subsets(pair: pv.MultimodalVAE) -> pv.Subsets:
    return pv.Subsets(pv.Objective(pair))


if __name__ == "__main__":
    main()
