"""Image and label of a digit from one latent: a product of experts (Wu & Goodman, 2018).

Where every training digit has both, q(z | image) is never asked to stand alone. So the pair is
trained on both together, on subsets of them, and with a weight on the label. The label is guessed
from the image by q(z | x), and by Bayes' rule with weighted draws. The coherence says whether
images and labels agree when they are drawn, by the word of a classifier of images.
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


OBJECTIVES = {
    "together": pv.Objective,
    "subsets": lambda pair: pv.Subsets(pv.Objective(pair)),
    "together, label x 10": lambda pair: pv.LikelihoodWeights(pv.Objective(pair), {"label": 10.0}),
}


def guess(pair: pv.MultimodalVAE, x: Tensor, y: Tensor, num_samples: int) -> dict[str, float]:
    """How often the label from the image is right, by q(z | x) and by weighted draws."""
    unknown = torch.full((len(x), K), torch.nan)
    found = pv.diagnostics.cross_generate(pair, x, unknown, num_samples=num_samples, progress=False)
    right = {}
    for way, p in (("q", found.variational["label"]), ("weights", found.posterior["label"])):
        share = pv.diagnostics.compare_labels(p.value.argmax(-1), y).accuracy
        print(f"label from image, by {way}: {share.value:.3f} ± {share.stderr:.3f} are right")
        right[way] = share.value
    return right


def main(epochs: int = 100, num_samples: int = 300) -> dict[str, dict[str, float]]:
    digits = pv.data.load("digits")
    image, y = digits.train, digits.labels[0]
    x_test, y_test = pv.data.binarise(digits.test), digits.labels[2]
    judge = LogisticRegression(max_iter=500).fit(pv.data.binarise(image).flatten(1), y)
    classify = {
        "image": lambda x: torch.as_tensor(judge.predict(x.flatten(1))),
        "label": lambda y: y.argmax(-1),
    }

    right = {}
    for name, make_objective in OBJECTIVES.items():
        pair = build()
        objective = pv.KLWeight(make_objective(pair), pv.linear(5 * epochs))
        data = image, one_hot(y, K).float()
        pv.fit(pair, *data, epochs=epochs, transform=torch.bernoulli, objective=objective, seed=0)

        print(f"\ntrained by {name}")
        right[name] = guess(pair, x_test, y_test, num_samples)
        test = x_test, one_hot(y_test, K).float()
        print(
            pv.diagnostics.coherence(
                pair, *test, classify=classify, num_samples=num_samples, progress=False
            )
        )
    return right


if __name__ == "__main__":
    main()
