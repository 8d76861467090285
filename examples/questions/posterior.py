# %% [markdown]
# # Where does p(z|x) come from, if we only have a decoder?
# From Bayes' rule. The decoder says p(x|z), and the prior says p(z). Multiply them at every z, and
# divide by the sum, so that the result is a distribution over z. With two latents the z are points
# of a grid, and the sum can be done.

# %%
from pathlib import Path

import matplotlib.style
import torch
from matplotlib.figure import Figure
from pair import load, three, write_table

import pyro_vae as pv
from pyro_vae.look.images import draw_image
from pyro_vae.look.style import COLOURS, STYLE, make_colour_map

SIZE = 200  # grid points in each dimension
DRAWS = 100_000
OUT = Path("runs/questions")

torch.manual_seed(0)
vae = load()

# %% [markdown]
# Bayes' rule, in logarithms. The encoder is not used in this cell.

# %%
axis = torch.linspace(-5, 5, SIZE)
z = torch.cartesian_prod(axis, axis)
cell = (axis[1] - axis[0]) ** 2

with torch.no_grad():
    log_prior = vae.prior().log_prob(z)[:, None]  # log p(z), [grid points, 1]
    log_likelihood = vae.likelihood(z[:, None]).log_prob(three)  # log p(x|z), [grid points, data]

log_joint = log_prior + log_likelihood
log_evidence = torch.logsumexp(log_joint + cell.log(), 0)  # log p(x), the sum to divide by
log_posterior = log_joint - log_evidence  # log p(z|x)

# %% [markdown]
# Two checks. p(x) is also the average of p(x|z) over draws of the prior. And the library's grid
# does the same sum.

# %%
with torch.no_grad():
    draws = vae.likelihood(vae.prior().sample((DRAWS, 1))).log_prob(three)
    by_drawing = draws.logsumexp(0) - torch.tensor(DRAWS).log()
grid = pv.diagnostics.grid_posterior(vae, three, size=SIZE, bounds=(-5.0, 5.0))
error = (grid.log_evidence - log_evidence).abs().max().item()
print(f"largest difference between this script's log p(x) and grid_posterior's: {error:.1e} nats")

# %% [markdown]
# Now the encoder: q(z|x) on the same grid, and the gap, KL(q‖p) = Σ q (log q - log p).

# %%
with torch.no_grad():
    log_q = torch.stack([vae.variational(one).log_prob(z) for one in three], 1)
gap = (log_q.exp() * (log_q - log_posterior)).sum(0) * cell


# %% [markdown]
# Training lowers KL(q‖p), and so prefers a q that stays inside the posterior. How wide is the best
# upright bell by that measure, beside the posterior itself? Widths are standard deviations, the
# geometric mean of the two directions.


# %%
def fit_bell(log_p):
    """The upright bell curve with the least KL(q‖p), found by descent on the grid."""
    bell = torch.zeros(2, 2)  # the centre, and the logarithm of the width
    bell[0] = z[log_p.argmax()]
    bell[1] = -1.0
    bell.requires_grad_()
    descent = torch.optim.LBFGS([bell], max_iter=100, line_search_fn="strong_wolfe")

    def measure():
        descent.zero_grad()
        log_q = torch.distributions.Normal(bell[0], bell[1].exp()).log_prob(z).sum(1)
        kl = (log_q.exp() * (log_q - log_p)).sum() * cell
        kl.backward()
        return kl

    descent.step(measure)
    return bell[1].mean().exp().item()


mass = log_posterior.exp() * cell
variance = mass.T @ z**2 - (mass.T @ z) ** 2
width = variance.prod(1) ** 0.25
best_width = [fit_bell(log_p) for log_p in log_posterior.T]

write_table(
    OUT / "posterior.txt",
    [
        "image",
        "log p(x), by the sum",
        "log p(x), by draws of the prior",
        "gap",
        "width of p(z\\|x)",
        "width of the best q",
    ],
    [
        [name, *(f"{value:.2f}" for value in row)]
        for name, *row in zip(
            ("the 2", "the 6", "the 9"),
            *(column.tolist() for column in (log_evidence, by_drawing, gap, width)),
            best_width,
        )
    ],
)

# %%
matplotlib.style.use(STYLE)
figure = Figure(figsize=(8, 5.6), layout="constrained")
LEVELS = [0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 1.01]  # shares of the highest density
titles = ["x", "prior p(z)", "likelihood p(x|z),\nover z", "posterior p(z|x)\n∝ p(z) p(x|z)"]
titles += ["the same, larger,\nand q(z|x) as lines"]
roles = ["prior", "likelihood", "posterior"]
for i, axes in enumerate(figure.subplots(len(three), 5, width_ratios=[0.7, 1, 1, 1, 1.5])):
    draw_image(axes[0], three[i])
    densities = [
        (log_density - log_density.max()).exp().reshape(SIZE, SIZE).T
        for log_density in (log_prior[:, 0], log_likelihood[:, i], log_posterior[:, i], log_q[:, i])
    ]
    for ax, density, role in zip(axes[1:], densities, roles):
        ax.contourf(axis, axis, density, levels=LEVELS, cmap=make_colour_map(role))
        ax.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    zoom = axes[4]
    zoom.contourf(axis, axis, densities[2], levels=LEVELS, cmap=make_colour_map("posterior"))
    zoom.contour(axis, axis, densities[3], levels=[0.05, 0.2, 0.6], colors=COLOURS["variational"])
    a, b = z[log_q[:, i].argmax()].tolist()
    zoom.set(xlim=(a - 1.5, a + 1.5), ylim=(b - 1.5, b + 1.5), aspect="equal")
    zoom.set_xlabel(f"gap {gap[i]:.2f} nats")
    if i == 0:
        for ax, title in zip(axes, titles):
            ax.set_title(title)
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "posterior.png")
