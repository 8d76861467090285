# %% [markdown]
# # Why compare q(z|x) with p(z|x)?
# Because the ELBO falls short of log p(x) by exactly that comparison, for every single x:
#
#     log p(x) = ELBO(x) + gap(x)         gap = KL(q(z|x) ‖ p(z|x))
#
# Here each of the three is measured on its own while the pair of the page trains. log p(x) and the
# gap are sums over a grid of z. The ELBO is an average over draws of z from q.

# %%
from pathlib import Path

import matplotlib.style
import torch
from matplotlib.figure import Figure
from pair import load, make, train, write_table, x_test

import pyro_vae as pv
from pyro_vae.look.style import COLOURS, STYLE

EPOCHS = [1, 3, 10, 30, 100, 300]  # when to measure
ALONE = [1, 3, 10, 30, 100]  # the same when q trains alone
ROWS = 300
SIZE = 150  # grid points in each dimension
NUM_SAMPLES = 1000
OUT = Path("runs/questions")
x = x_test[:ROWS]


def measure(vae):
    grid = pv.diagnostics.grid_posterior(vae, x, size=SIZE, bounds=(-5.0, 5.0))
    bound = pv.diagnostics.elbo(vae, x, num_samples=NUM_SAMPLES, progress=False)
    miss = grid.log_evidence - bound.value - grid.gap
    return {
        "log p(x)": grid.log_evidence,
        "ELBO": bound.value,
        "gap": grid.gap,
        "residual": miss / bound.stderr,  # in standard errors
    }


def follow(vae, when):
    """Train up to the last of these epochs, and measure at each, 0 included."""
    found = {0: measure(vae)}

    def look(history):
        if len(history.loss) in when:
            found[len(history.loss)] = measure(vae)

    train(vae, epochs=when[-1], callback=look)
    return found


def describe(when, found):
    """The rows of the table. The ELBO is rounded so that the sum closes."""
    for epoch, m in found.items():
        log_p, gap = (round(m[name].mean().item(), 2) for name in ("log p(x)", "gap"))
        largest = m["residual"].abs().max().item()
        yield [when, epoch, f"{log_p:.2f}", f"{log_p - gap:.2f}", f"{gap:.2f}", f"{largest:.1f}"]


# %% [markdown]
# Encoder and decoder trained together: log p(x) moves as well, because the decoder does.

# %%
together = follow(make(), EPOCHS)

# %% [markdown]
# Now p is that of the trained pair, and frozen. A new q is trained alone. log p(x) cannot move.
# So every nat that the ELBO gains is a nat that the gap loses.

# %%
vae = load().train()
vae.likelihood.requires_grad_(False)
vae.variational = make(seed=1).variational
alone = follow(vae, ALONE)

head = [
    "trained",
    "epoch",
    "log p(x) =",
    "ELBO +",
    "gap",
    "largest residual of 300, in standard errors",
]
write_table(
    OUT / "identity.txt", head, [*describe("p and q", together), *describe("q alone", alone)]
)

first, last = alone[0], alone[ALONE[-1]]
gain, loss = (
    (last["ELBO"] - first["ELBO"]).mean().item(),
    (first["gap"] - last["gap"]).mean().item(),
)
closer = (last["gap"] < first["gap"]).double().mean().item()
print(
    f"q alone: the ELBO gained {gain:.2f} nats, the gap lost {loss:.2f}; "
    f"it fell for {100 * closer:.1f} % of the data"
)

# %%
matplotlib.style.use(STYLE)
figure = Figure(figsize=(8, 4.6), layout="constrained")
panels = figure.subplot_mosaic(
    [["together", "alone", "residual"], ["gap together", "gap alone", "residual"]],
    height_ratios=[1.5, 1],
)
for name, found, title in (
    ("together", together, "p and q train"),
    ("alone", alone, "p is frozen, q trains"),
):
    at = range(len(found))
    log_p, elbo, gap = (
        [m[part].mean().item() for m in found.values()] for part in ("log p(x)", "ELBO", "gap")
    )
    upper, lower = panels[name], panels[f"gap {name}"]
    upper.plot(at, log_p, "o-", color=COLOURS["data"], label="log p(x)")
    upper.plot(at, elbo, "s--", color=COLOURS["variational"], label="ELBO")
    upper.fill_between(at, elbo, log_p, color=COLOURS["posterior"], alpha=0.2)
    upper.set(title=title, xticks=at, xticklabels=[])
    upper.legend(loc="lower right")
    lower.plot(at, gap, "o-", color=COLOURS["posterior"])
    lower.set(xlabel="epoch", xticks=at, xticklabels=list(found), ylim=(0, None))
panels["together"].set_ylabel("nats")
panels["gap together"].set_ylabel("gap, nats")
residuals = torch.cat([m["residual"] for m in [*together.values(), *alone.values()]])
side = panels["residual"]
side.hist(residuals.numpy(), bins=30, density=True, color=COLOURS["data"], alpha=0.35)
normal = torch.linspace(-4, 4, 100)
side.plot(normal, torch.distributions.Normal(0, 1).log_prob(normal).exp(), color=COLOURS["data"])
side.set(
    title="each image, each time",
    xlabel="log p(x) - ELBO - gap,\nin standard errors of the ELBO",
    yticks=[],
)
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "identity.png")
