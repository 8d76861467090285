# %% [markdown]
# # The whole picture
# One image goes through the pair of the page: encoder, bell curve, a draw, decoder, loss. The
# figure is drawn from what is computed here.

# %%
from pathlib import Path

import matplotlib.style
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from pair import load, three

import pyro_vae as pv
from pyro_vae.look.images import draw_image
from pyro_vae.look.style import COLOURS, STYLE

SIZE = 200  # grid points in each dimension
OUT = Path("runs/questions")

torch.manual_seed(0)
vae, x = load(), three[:1]
with torch.no_grad():
    q = vae.variational(x)
    z = q.sample()
    pixels = vae.likelihood(z).mean
    cost = torch.distributions.kl_divergence(q, vae.prior()).item()

# %% [markdown]
# The mean over draws of q, as a sum over a grid, so that it has no error of draws:
# log p(x) = ELBO + gap, and ELBO = reconstruction - cost.

# %%
grid = pv.diagnostics.grid_posterior(vae, x, size=SIZE)
elbo = (grid.log_evidence - grid.gap).item()
reconstruction = elbo + cost
print(f"cross-entropy {-reconstruction:.2f} + cost {cost:.2f} = loss {-elbo:.2f}")

# %% [markdown]
# The figure, from left to right.

# %%
matplotlib.style.use(STYLE)
figure = Figure(figsize=(8, 3.7))


def add_image(left, image, title):
    ax = figure.add_axes((left, 0.44, 0.17, 0.38))
    draw_image(ax, image[0])
    ax.set_title(title)


def add_arrow(left, right, word):
    options = {"xycoords": "figure fraction", "textcoords": "figure fraction"}
    figure.text((left + right) / 2, 0.66, word, ha="center")
    style = {"arrowstyle": "-|>", "color": COLOURS["data"], "mutation_scale": 16}
    figure.axes[0].annotate("", (right, 0.63), (left, 0.63), arrowprops=style, **options)


add_image(0.01, x, "an image x")
plane = figure.add_axes((0.335, 0.4, 0.24, 0.5))
for r in (1, 2):
    plane.add_patch(Ellipse((0, 0), 2 * r, 2 * r, fill=False, color=COLOURS["prior"], ls="--"))
    plane.add_patch(
        Ellipse(q.mean[0], *(2 * r * q.stddev[0]), color=COLOURS["variational"], alpha=0.35)
    )
plane.plot(*z[0], "x", color=COLOURS["data"], markersize=8, markeredgewidth=2)
plane.text(0.0, -1.5, "p(z)", color=COLOURS["prior"], ha="center", weight="bold")
plane.text(0.95, -0.45, "q(z|x)", color=COLOURS["variational"], weight="bold")
plane.set(xlim=(-2.5, 2.9), ylim=(-2.5, 2.5), aspect="equal", title="a bell curve, and a draw ×")
plane.set_xticks([-2, 0, 2])
plane.set_yticks([-2, 0, 2])
add_image(0.81, pixels, "pixel probabilities")
add_arrow(0.19, 0.31, "encoder")
add_arrow(0.61, 0.795, "a draw z\ndecoder")

large = {"weight": "bold", "size": "large"}
figure.text(0.02, 0.2, f"loss {-elbo:.2f}   =", **large)
figure.text(0.24, 0.2, f"cost {cost:.2f}", color=COLOURS["prior"], **large)
figure.text(0.24, 0.06, "how far the bell curve\nis from p(z)")
figure.text(0.46, 0.2, "+", **large)
figure.text(0.52, 0.2, f"cross-entropy {-reconstruction:.2f}", **large)
figure.text(0.52, 0.06, "how badly the pixel probabilities fit x,\non average over draws")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "whole.png")
