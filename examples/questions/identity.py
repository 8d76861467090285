# %% [markdown]
# # Why compare q(z|x) with p(z|x)?
# Because the ELBO falls short of log p(x) by exactly that comparison, for every single x:
#
#     log p(x) = ELBO(x) + KL(q(z|x) ‖ p(z|x))
#
# Here each of the three is measured on its own while a VAE trains. log p(x) and the KL are sums
# over a grid of z. The ELBO is an average over draws of z from q.

# %%
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyro_vae as pv

EPOCHS = [1, 3, 10, 30, 100, 300]  # when to measure
ALONE = [1, 3, 10, 30, 100]  # the same when q trains alone
FROZEN = 30  # epochs after which p is frozen
ROWS = 60
SIZE = 250  # grid points in each dimension
NUM_SAMPLES = 5000
OUT = Path("runs/questions")

digits = pv.data.load("digits")
x = pv.data.binarise(digits.test)[:ROWS]


def make():
    torch.manual_seed(0)
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli((1, 8, 8), given=2),
        variational=pv.Normal(2, given=(1, 8, 8)),
    )


def measure(vae):
    grid = pv.diagnostics.grid_posterior(vae, x, size=SIZE)
    bound = pv.diagnostics.elbo(vae, x, num_samples=NUM_SAMPLES, progress=False)
    return {
        "log p(x)": grid.log_evidence,
        "ELBO": bound.value,
        "KL": grid.gap,
        "stderr": bound.stderr,
    }


def train(vae, when):
    """Train up to the last of these epochs, and measure at each, 0 included."""
    found = {0: measure(vae)}

    def look(history):
        if len(history.loss) in when:
            found[len(history.loss)] = measure(vae)

    pv.fit(vae, digits.train, epochs=when[-1], transform=torch.bernoulli, seed=0, callback=look)
    return found


def table(found):
    print(
        "epoch   log p(x) =     ELBO  +    KL     "
        "largest error over the data, in nats and in standard errors"
    )
    for epoch, m in found.items():
        means = [m[name].mean().item() for name in ("log p(x)", "ELBO", "KL")]
        miss = (m["log p(x)"] - m["ELBO"] - m["KL"]).abs()
        print("{:5d}{:11.2f}{:11.2f}{:8.2f}".format(epoch, *means), end="")
        print(f"{miss.max().item():12.3f}{(miss / m['stderr']).max().item():14.1f}")


# %% [markdown]
# Encoder and decoder trained together: log p(x) moves as well, because the decoder does.

# %%
together = train(make(), EPOCHS)
table(together)

# %% [markdown]
# Now p is frozen after 30 epochs, and q alone is trained from a fresh start. log p(x) cannot move.
# So every nat that the ELBO gains is a nat that the KL loses.

# %%
vae = make()
pv.fit(vae, digits.train, epochs=FROZEN, transform=torch.bernoulli, seed=0)
vae.likelihood.requires_grad_(False)
vae.variational = pv.Normal(2, given=(1, 8, 8))
alone = train(vae, ALONE)
table(alone)

first, last = alone[0], alone[ALONE[-1]]
gain, loss = (last["ELBO"] - first["ELBO"]).mean().item(), (first["KL"] - last["KL"]).mean().item()
closer = (last["KL"] < first["KL"]).double().mean().item()
print(
    f"the ELBO gained {gain:.3f} nats, the KL lost {loss:.3f}; "
    f"it fell for {100 * closer:.0f} % of the data"
)

# %%
figure = Figure(figsize=(13, 4.2), layout="constrained", dpi=100)
left, middle, right = figure.subplots(1, 3)
for ax, found, title in (
    (left, together, "p and q train together"),
    (right, alone, "p is frozen, q trains alone"),
):
    at = range(len(found))
    log_p, elbo = ([m[name].mean().item() for m in found.values()] for name in ("log p(x)", "ELBO"))
    ax.plot(at, log_p, "o-", label="log p(x)")
    ax.plot(at, elbo, "o-", color="C3", label="ELBO")
    ax.fill_between(at, elbo, log_p, alpha=0.2, label="KL(q(z|x) ‖ p(z|x))")
    ax.set_xticks(at, list(found))
    ax.set(title=title, xlabel="epoch", ylabel="nats, mean over the data")
    ax.legend(loc="lower right")
for epoch, m in together.items():
    middle.scatter(m["log p(x)"], m["ELBO"] + m["KL"], s=8, label=f"epoch {epoch}")
ends = [-46, -14]
middle.plot(ends, ends, color="k", linewidth=0.5)
middle.set(
    title="datum by datum", xlabel="log p(x), by the grid", ylabel="ELBO + KL", aspect="equal"
)
middle.legend(fontsize="small")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "identity.png")
