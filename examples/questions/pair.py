# %% [markdown]
# # The one pair of docs/questions.md
# Every script of this folder, and the explorer in docs/, asks its questions of this pair: two
# latents for scikit-learn's 8×8 digits, black and white. So the same quantity has the same value
# everywhere. The trained weights lie beside this file. Run it from the top to train them anew.

# %%
from functools import partial
from pathlib import Path

import torch

import pyro_vae as pv

EPOCHS = 300
WEIGHTS = Path(__file__).with_name("pair.safetensors")

digits = pv.data.load("digits")
x_train = pv.data.binarise(digits.train)  # the 1,297 images that were trained on, black and white
x_test = pv.data.binarise(digits.test)  # 300 others. Means on the page are over these.
labels_train, labels_test = digits.labels[0], digits.labels[-1]
three = x_test[[34, 15, 29]]  # *the* images of the page: a 2, a 6 and a 9

# %% [markdown]
# Both networks have one hidden layer of 128. The encoder says the centre and the width of a bell
# curve over z, and the decoder the probability of black for each pixel.


# %%
def make(*, latents=2, prior=None, hidden=(128,), seed=0):
    """A new pair, not trained."""
    torch.manual_seed(seed)
    net = partial(pv.networks.mlp, hidden=hidden)

    return pv.VAE(
        prior=prior or pv.StandardNormal(latents),
        likelihood=pv.Bernoulli((1, 8, 8), given=latents, net=net),
        variational=pv.Normal(latents, given=(1, 8, 8), net=net),
    )


def train(vae, *, beta=1.0, data=digits.train, epochs=EPOCHS, seed=0, **options):
    """Train on grey images, drawn black and white anew each time. beta weighs the cost term."""
    objective = pv.Objective(vae) if beta == 1 else pv.KLWeight(pv.Objective(vae), beta)
    how = {"learning_rate": 2e-3, "transform": torch.bernoulli, "progress": False} | options

    pv.fit(vae, data, epochs=epochs, objective=objective, seed=seed, **how)
    return vae


def load():
    """The trained pair of the page."""
    vae = make()
    pv.load_weights(vae, WEIGHTS)
    return vae.eval()


def write_table(file, head, rows):
    """Print a table, and write it as docs/questions.md shows it."""
    lines = [head, ["---"] * len(head), *rows]
    text = "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
    print(text)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


# %%
if __name__ == "__main__":
    pv.save_weights(train(make()), WEIGHTS)
