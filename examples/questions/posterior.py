# %% [markdown]
# # Where does p(z|x) come from, if we only have a decoder?
# From Bayes' rule. The decoder says p(x|z), and the prior says p(z). Multiply them at every z, and
# divide by the sum, so that the result is a distribution over z. With two latents the z are points
# of a grid, and the sum can be done.

# %%
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyro_vae as pv

EPOCHS = 300
SIZE = 200  # grid points in each dimension
OUT = Path("runs/questions")

torch.manual_seed(0)
digits = pv.data.load("digits")
vae = pv.VAE(
    prior=pv.StandardNormal(2),
    likelihood=pv.Bernoulli((1, 8, 8), given=2),
    variational=pv.Normal(2, given=(1, 8, 8)),
)
pv.fit(vae, digits.train, epochs=EPOCHS, transform=torch.bernoulli, seed=0)
x = pv.data.binarise(digits.test)[[0, 1, 3]]

# %% [markdown]
# Bayes' rule, in logarithms. The encoder is not used in this cell.

# %%
axis = torch.linspace(-5, 5, SIZE)
z = torch.cartesian_prod(axis, axis)
cell = (axis[1] - axis[0]) ** 2

with torch.no_grad():
    log_prior = vae.prior().log_prob(z)[:, None]  # log p(z), [grid points, 1]
    log_likelihood = vae.likelihood(z[:, None]).log_prob(x)  # log p(x|z), [grid points, data]

log_joint = log_prior + log_likelihood
log_evidence = torch.logsumexp(log_joint + cell.log(), 0)  # log p(x), the sum to divide by
log_posterior = log_joint - log_evidence  # log p(z|x)

# %% [markdown]
# Two checks. p(x) is also the average of p(x|z) over draws of the prior. And the library's grid
# does the same sum.

# %%
with torch.no_grad():
    draws = vae.likelihood(vae.prior().sample((50_000, 1))).log_prob(x)
    by_drawing = draws.logsumexp(0) - torch.tensor(50_000.0).log()
grid = pv.diagnostics.grid_posterior(vae, x, size=SIZE, bounds=(-5.0, 5.0))
error = (grid.log_evidence - log_evidence).abs().max().item()

# %% [markdown]
# Now the encoder: q(z|x) on the same grid, and how far it is from p(z|x),
# KL(q‖p) = Σ q (log q - log p).

# %%
with torch.no_grad():
    log_q = torch.stack([vae.variational(one).log_prob(z) for one in x], 1)
gap = (log_q.exp() * (log_q - log_posterior)).sum(0) * cell

print("digit   log p(x) by the sum   by drawing   KL(q(z|x) ‖ p(z|x)), nats")
for i, row in enumerate(zip(log_evidence.tolist(), by_drawing.tolist(), gap.tolist())):
    print("{:5d}{:22.2f}{:13.2f}{:15.3f}".format(i + 1, *row))
print(f"largest difference between this page's log p(x) and grid_posterior's: {error:.1e} nats")

# %%
figure = Figure(figsize=(12, 7.4), layout="constrained", dpi=100)
titles = [
    "x",
    "p(z), the prior",
    "p(x|z), as a function of z",
    "p(z|x) ∝ p(z) p(x|z)",
    "q(z|x), the encoder's",
]
for i, axes in enumerate(figure.subplots(len(x), 5)):
    axes[0].imshow(x[i, 0], cmap="gray_r")
    axes[0].set_xticks([])
    axes[0].set_yticks([])
    for ax, log_density in zip(
        axes[1:], (log_prior[:, 0], log_likelihood[:, i], log_posterior[:, i], log_q[:, i])
    ):
        density = (log_density - log_density.max()).exp().reshape(SIZE, SIZE)
        ax.contourf(
            axis, axis, density.T, levels=[0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 1.01], cmap="Blues"
        )
        ax.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xlabel="z[0]")
    axes[1].set_ylabel("z[1]")
    axes[4].text(-3.7, 3.2, f"KL(q‖p) = {gap[i]:.2f} nats")
    if i == 0:
        for ax, title in zip(axes, titles):
            ax.set_title(title, fontsize="medium")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "posterior.png")
