# %% [markdown]
# # Would comparing q(x|z) with p(x|z) do as well?
# Encoder and data together are a joint distribution of x and z, q(x,z) = data(x) q(z|x). Prior and
# decoder are another, p(x,z) = p(z) p(x|z). The KL between the two can be split in two ways:
#
#     KL(q(x,z) ‖ p(x,z)) = mean KL(q(z|x) ‖ p(z|x)) + KL(data ‖ p(x))
#                         = KL(q(z) ‖ p(z))          + mean KL(q(x|z) ‖ p(x|z))
#
# The last term compares the decoder with the encoder turned round, q(x|z) = data(x) q(z|x) / q(z).
# Why not minimise that, and nothing else? Here one pair is trained with both terms, which is the
# ELBO, and one with the last term alone.

# %%
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import pyro_vae as pv

EPOCHS = 600
ROWS = 600
SIZE = 150  # grid points in each dimension
OUT = Path("runs/questions")

digits = pv.data.load("digits")
x = pv.data.binarise(digits.train)[:ROWS]  # binarised once: these N data are all there is


def make(prior):
    torch.manual_seed(0)
    return pv.VAE(
        prior=prior,
        likelihood=pv.Bernoulli((1, 8, 8), given=2),
        variational=pv.Normal(2, given=(1, 8, 8)),
    )


# %% [markdown]
# mean KL(q(x|z) ‖ p(x|z)) is the mean of log q(x|z) - log p(x|z). For N data,
# q(xᵢ|z) = q(z|xᵢ) / Σⱼ q(z|xⱼ).


# %%
class SecondTermOnly(nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, x):
        q = self.vae.variational(x)
        z = q.rsample()
        log_q = q.log_prob(z[:, None])  # log q(zᵢ|xⱼ), [i, j]
        log_q_x = log_q.diagonal() - log_q.logsumexp(1)
        return (log_q_x - self.vae.likelihood(z).log_prob(x)).mean()


both, second = make(pv.StandardNormal(2)), make(pv.StandardNormal(2))
how = {"epochs": EPOCHS, "batch_size": len(x), "learning_rate": 3e-3, "seed": 0}
pv.fit(both, x, **how)
pv.fit(second, x, **how, objective=SecondTermOnly(second))

# %% [markdown]
# The four terms. The first two need log p(x), which is a sum over a grid. KL(data ‖ p(x)) is large
# in any case: a distribution that allows other digits than just these 600 has to pay for that.

# %%
names = ("posterior", "evidence", "marginal", "likelihood")
found = {}


def measure(name, vae):
    torch.manual_seed(1)
    log_p = pv.diagnostics.grid_posterior(vae, x, size=SIZE, bounds=(-6.0, 11.0)).log_evidence
    joint = pv.diagnostics.joint_kl(vae, x, num_samples=10, log_evidence=log_p, progress=False)
    found[name] = {term: getattr(joint, term).value for term in names}


measure("both terms", both)
measure("second term only", second)

# %% [markdown]
# Here is the proof that p(z) does not occur in the second term. Give the pair another prior and
# measure again. Not one digit of that term moves, so minimising it cannot teach encoder or decoder
# anything about p(z).

# %%
other = make(pv.Normal(2, loc=torch.tensor([5.0, 5.0]), scale=1.0))
other.likelihood, other.variational = both.likelihood, both.variational
measure("both terms, prior moved", other)

print(
    f"{'nats per datum':26}{'KL(q(z|x)‖p(z|x)) + KL(data‖p(x))':>36}"
    f"{'KL(q(z)‖p(z)) + KL(q(x|z)‖p(x|z))':>38}"
)
for name, row in found.items():
    print("{:26}{:17.2f} + {:16.2f}{:19.2f} + {:16.2f}".format(name, *row.values()))

# %%
figure = Figure(figsize=(11, 6.6), layout="constrained", dpi=100)
upper, lower = figure.subfigures(2, 1, height_ratios=[1.5, 1])
axes = upper.subplots(1, 2)
circles = {
    r: r * torch.stack([t.cos(), t.sin()])
    for t in [torch.linspace(0, 6.3, 100)]
    for r in (1.0, 2.0)
}
for ax, (name, vae) in zip(axes, (("both terms", both), ("second term only", second))):
    z = pv.reconstruct(vae, x)["z"]
    ax.scatter(*z.T, s=6, label="draws of q(z|x), one for each datum")
    for r, circle in circles.items():
        ax.plot(
            *circle,
            color="C3",
            linewidth=1,
            label="p(z), one and two standard deviations" if r == 1 else None,
        )
    kl, other_kl = found[name]["marginal"], found[name]["likelihood"]
    ax.set_title(
        f"trained on {name}\nKL(q(z)‖p(z)) = {kl:.2f}, KL(q(x|z)‖p(x|z)) = {other_kl:.2f}",
        fontsize="medium",
    )
    ax.set(aspect="equal", xlabel="z[0]", ylabel="z[1]")
    ax.set_adjustable("datalim")
axes[0].legend(loc="lower left", fontsize="small")
for ax_row, (name, vae) in zip(lower.subplots(2, 16), (("both", both), ("second", second))):
    for ax, image in zip(ax_row, pv.simulate(vae, 16, mean=True)["x"]):
        ax.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        ax.set_xticks([])
        ax.set_yticks([])
    ax_row[0].set_ylabel(name)
lower.suptitle("z drawn from p(z), decoded", fontsize="medium")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "other_factoring.png")
