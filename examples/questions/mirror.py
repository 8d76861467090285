# %% [markdown]
# # Do encoder and decoder mirror each other?
# The encoder is trained towards p(z|x), and p(z|x) follows from the decoder, good or bad. So a
# small KL(q(z|x) ‖ p(z|x)) says that the encoder fits its decoder. It does not say that either is
# any good. Here one is frozen and the other trained.

# %%
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyro_vae as pv

EPOCHS = 200
ROWS = 100
SIZE = 250  # grid points in each dimension
OUT = Path("runs/questions")

digits = pv.data.load("digits")
x = pv.data.binarise(digits.test)[:ROWS]
found = {}


def make():
    torch.manual_seed(0)
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli((1, 8, 8), given=2),
        variational=pv.Normal(2, given=(1, 8, 8)),
    )


def train(vae, data):
    pv.fit(vae, data, epochs=EPOCHS, transform=torch.bernoulli, seed=0)


def measure(name, vae):
    torch.manual_seed(1)
    grid = pv.diagnostics.grid_posterior(vae, x, size=SIZE)
    bound = pv.diagnostics.elbo(vae, x, num_samples=1000, progress=False)
    found[name] = {
        "log p(x)": grid.log_evidence.mean().item(),
        "reconstruction": bound.reconstruction.value.mean().item(),
        "KL": grid.gap.mean().item(),
        "images": pv.reconstruct(vae, x[:8])["x"],
    }


# %% [markdown]
# Both trained together, for comparison.

# %%
good = make()
train(good, digits.train)
measure("both trained", good)

# %% [markdown]
# A bad decoder, frozen. It has only ever seen digits turned by a quarter. It gets a new encoder,
# and the encoder alone is trained on digits that stand upright.

# %%
pair = make()
train(pair, digits.train.rot90(1, (2, 3)))
pair.likelihood.requires_grad_(False)
pair.variational = pv.Normal(2, given=(1, 8, 8))
measure("bad decoder, new encoder", pair)
train(pair, digits.train)
measure("bad decoder, encoder trained", pair)

# %% [markdown]
# The reverse: a random encoder, frozen, with the good decoder. The decoder alone is trained.

# %%
good.variational = pv.Normal(2, given=(1, 8, 8)).requires_grad_(False)
measure("good decoder, random encoder", good)
train(good, digits.train)
measure("random encoder, decoder trained", good)

# %%
print(f"{'nats per datum':34}{'log p(x)':>10}{'E_q log p(x|z)':>16}{'KL(q(z|x) ‖ p(z|x))':>22}")
for name, row in found.items():
    print(f"{name:34}{row['log p(x)']:10.2f}{row['reconstruction']:16.2f}{row['KL']:22.3f}")

# %%
figure = Figure(figsize=(10, 7), layout="constrained", dpi=100)
rows = [("the data", None), *found.items()]
for axes, (name, row) in zip(figure.subplots(len(rows), 9, width_ratios=[4.2] + [1] * 8), rows):
    text = (
        name
        if row is None
        else f"{name}\nKL {row['KL']:.2f}, E_q log p(x|z) {row['reconstruction']:.1f}"
    )
    axes[0].text(0, 0.5, text, va="center", fontsize="large")
    axes[0].axis("off")
    for ax, image in zip(axes[1:], x if row is None else row["images"]):
        ax.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        ax.set_xticks([])
        ax.set_yticks([])
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "mirror.png")
