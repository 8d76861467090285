"""Image and label of a digit from one latent: a product of experts (Wu & Goodman, 2018).

Every third training digit lacks its image, and every third its label. The label is then guessed
from the image alone, through z. The KL term is warmed up: without that, z goes unused here.
"""

import torch
from torch.nn.functional import one_hot

import pyro_vae as pv

X, Z, K = (1, 8, 8), 6, 10


def main(epochs: int = 60, num_samples: int = 200) -> float:
    torch.manual_seed(0)
    digits = pv.data.load("digits")
    image, label = pv.data.binarise(digits.train), one_hot(digits.labels[0], K).float()
    image[::3] = torch.nan
    label[1::3] = torch.nan
    pair = pv.MultimodalVAE(
        prior=pv.StandardNormal(Z),
        likelihoods={
            "image": pv.Bernoulli(X, given=Z),
            "label": pv.OneHotCategorical(K, given=Z),
        },
        experts={"image": pv.Normal(Z, given=X), "label": pv.Normal(Z, given=K)},
    )
    print(pair)
    objective = pv.KLWeight(pv.Objective(pair), pv.linear(400))
    pv.fit(pair, image, label, epochs=epochs, objective=objective, seed=0)

    x_test, y_test = pv.data.binarise(digits.test), digits.labels[2]
    nothing = torch.full((len(x_test), K), torch.nan)
    with torch.no_grad():
        z = pair.find_variational(x_test, nothing).sample((num_samples,))
        guesses = pair.likelihoods["label"](z).probs.mean(0).argmax(-1)
    found = pv.diagnostics.compare_labels(guesses, y_test).accuracy
    print(f"label from image: {found.value:.3f} ± {found.stderr:.3f} are right")
    print(
        pv.diagnostics.picture(
            pair, x_test[:100], nothing[:100], num_samples=num_samples, progress=False
        )
    )
    return found.value


if __name__ == "__main__":
    main()
