# %% [markdown]
# # Why not draw z from the prior?
# p(x) is the mean of p(x|z) over draws of the prior. With two latents that works. With twenty
# hardly one draw explains the image. Draws of q do explain it, and the weights p(z) / q(z|x)
# mend that they come from q:
#
#     p(x) = E_p(z) p(x|z) = E_q(z|x) p(z) p(x|z) / q(z|x)
#
# The *effective sample size* says how many draws carry the mean, (Σ w)² / Σ w². It is the number
# of draws if all weigh the same, and 1 if a single one carries everything.

# %%
from pathlib import Path

import matplotlib.style
import torch
from matplotlib.figure import Figure
from pair import load, make, train, write_table, x_test

import pyro_vae as pv
from pyro_vae.look.style import COLOURS, STYLE

EPOCHS = 300
ROWS = 300
DRAWS = 10_000
OUT = Path("runs/questions")
x = x_test[:ROWS]

vaes = {2: load(), 20: train(make(latents=20), epochs=EPOCHS)}

# %% [markdown]
# The logarithms of the weights, for each draw and each image.


# %%
def weigh(vae, source):
    """log p(x|z) of draws of the prior, or log p(z) p(x|z) / q(z|x) of draws of q."""
    torch.manual_seed(1)
    with torch.no_grad():
        if source == "prior":
            decoded = vae.likelihood(vae.prior().sample((DRAWS, 1)))
            return torch.cat([decoded.log_prob(one) for one in x.split(1)], 1)
    return pv.diagnostics.log_weights(vae, x, num_samples=DRAWS)


def find_effective(log_weight):
    return (2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0)).exp()


def estimate(log_weight, draws):
    """log p(x), the mean over the images, from each block of so many draws."""
    blocks = log_weight.unflatten(0, (-1, draws))
    return (blocks.logsumexp(1) - torch.tensor(draws).log()).mean(1)


found = {
    (latents, source): weigh(vae, source).double()
    for latents, vae in vaes.items()
    for source in ("prior", "q")
}
effective = {key: find_effective(log_weight).median().item() for key, log_weight in found.items()}
with torch.no_grad():
    costs = {
        latents: torch.distributions.kl_divergence(vae.variational(x), vae.prior()).mean().item()
        for latents, vae in vaes.items()
    }
write_table(
    OUT / "drawing.txt",
    ["latents", "cost", "draws of", "effective in 100", "log p(x) by 100", f"by {DRAWS:,}"],
    [
        [
            latents,
            f"{costs[latents]:.2f}",
            source,
            f"{100 * effective[latents, source] / DRAWS:.1f}",
            *(f"{estimate(w, draws).mean().item():.2f}" for draws in (100, DRAWS)),
        ]
        for (latents, source), w in found.items()
    ],
)

# %%
matplotlib.style.use(STYLE)
figure = Figure(figsize=(8, 3.2), layout="constrained")
counts = [10, 100, 1000, DRAWS]
looks = {"prior": (COLOURS["prior"], "o--"), "q": (COLOURS["variational"], "s-")}
for ax, latents in zip(figure.subplots(1, 2, sharey=True), vaes):
    for source, (colour, line) in looks.items():
        means = [estimate(found[latents, source], n).mean().item() for n in counts]
        ax.plot(counts, means, line, color=colour, label=f"draws of {source}")
    ax.set(xscale="log", title=f"{latents} latents", xlabel="draws for each image")
    ax.legend(loc="lower right")
figure.axes[0].set_ylabel("log p(x), estimated")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "drawing.png")
