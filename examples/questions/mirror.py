# %% [markdown]
# # Do encoder and decoder mirror each other?
# The encoder is trained towards p(z|x), and p(z|x) follows from the decoder, good or bad. So a
# small gap says that the encoder fits its decoder. It does not say that either is any good. Here
# one is frozen and the other trained.

# %%
from pathlib import Path

import matplotlib.style
import torch
from matplotlib.figure import Figure
from pair import digits, load, make, train, write_table, x_test

import pyro_vae as pv
from pyro_vae.look.images import draw_image
from pyro_vae.look.style import STYLE

EPOCHS = 300
ROWS = 300
SIZE = 150  # grid points in each dimension
OUT = Path("runs/questions")

x = x_test[:ROWS]
shown = x_test[[34, 15, 29, 13, 12, 25, 38, 36]]
found = {}


def measure(name, vae):
    """What is measured by a sum over a grid has no error of draws."""
    torch.manual_seed(1)
    grid = pv.diagnostics.grid_posterior(vae, x, size=SIZE, bounds=(-5.0, 5.0))
    with torch.no_grad():
        cost = torch.distributions.kl_divergence(vae.variational(x), vae.prior())
    elbo = grid.log_evidence - grid.gap
    found[name] = {
        "log p(x)": grid.log_evidence.mean().item(),
        "reconstruction": (elbo + cost).mean().item(),
        "cost": cost.mean().item(),
        "gap": grid.gap.mean().item(),
        "images": pv.reconstruct(vae, shown)["x"],
    }


# %% [markdown]
# The pair of the page, for comparison.

# %%
measure("the pair", load())

# %% [markdown]
# A bad decoder, frozen. It has only ever seen digits turned by a quarter. It gets a new encoder,
# and the encoder alone is trained on digits that stand upright.

# %%
pair = train(make(), data=digits.train.rot90(1, (2, 3)), epochs=EPOCHS)
pair.likelihood.requires_grad_(False)
pair.variational = make(seed=1).variational
measure("bad decoder, new encoder", pair)
train(pair, epochs=EPOCHS)
measure("bad decoder, encoder trained", pair)

# %% [markdown]
# The reverse: a random encoder, frozen, with the good decoder. The decoder alone is trained.

# %%
pair = load().train()
pair.variational = make(seed=1).variational.requires_grad_(False)
measure("good decoder, random encoder", pair)
train(pair, epochs=EPOCHS)
measure("random encoder, decoder trained", pair)

# %%
write_table(
    OUT / "mirror.txt",
    ["means over 300 images, nats", "log p(x)", "reconstruction", "gap"],
    [
        [name, *(f"{row[part]:.2f}" for part in ("log p(x)", "reconstruction", "gap"))]
        for name, row in found.items()
    ],
)

# %%
matplotlib.style.use(STYLE)
figure = Figure(figsize=(8, 5), layout="constrained")
rows = [("the images", None), *found.items()]
for axes, (name, row) in zip(figure.subplots(len(rows), 9, width_ratios=[3.2] + [1] * 8), rows):
    text = name.replace(", ", ",\n")
    if row is not None:
        text += f"\nlog p(x) {row['log p(x)']:.1f}, gap {row['gap']:.2f}"
    axes[0].text(0, 0.5, text, va="center")
    axes[0].axis("off")
    for ax, image in zip(axes[1:], shown if row is None else row["images"]):
        draw_image(ax, image)
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "mirror.png")
