# %% [markdown]
# # Why is the latent space continuous?
# Because the KL term asks for it. Averaged over the data, it is
#
#     mean KL(q(z|x) ‖ p(z)) = information of z about x + KL(q(z) ‖ p(z))
#
# where q(z) is the mean of q(z|x) over the data. Pressing the first part down widens each q(z|x),
# until it overlaps its neighbours. Pressing the second part down lays all of them together over the
# prior, without holes. Here the same VAE is trained with that term weighted by beta = 0, 0.1 and 1.

# %%
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyro_vae as pv

EPOCHS = 300
BETAS = [0.0, 0.1, 1.0]
DRAWS = 10_000
OUT = Path("runs/questions")

digits = pv.data.load("digits")
x, x_test = pv.data.binarise(digits.train), pv.data.binarise(digits.test)

vaes = {}
for beta in BETAS:
    torch.manual_seed(0)
    vaes[beta] = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli((1, 8, 8), given=2),
        variational=pv.Normal(2, given=(1, 8, 8)),
    )
    objective = pv.KLWeight(pv.Objective(vaes[beta]), beta)
    pv.fit(
        vaes[beta],
        digits.train,
        epochs=EPOCHS,
        objective=objective,
        transform=torch.bernoulli,
        seed=0,
    )

# %% [markdown]
# Some numbers for each:
#
# - Holes: the share of draws of the prior at a place where q(z) is less than a tenth of p(z). The
#   prior goes there, and the data hardly do.
# - Outside: the share of the data with a z further than 3 from the centre. The prior has 1 % of its
#   draws there.
# - log p(x) of new digits: how well decoded draws of the prior explain them.


# %%
def log_aggregate(vae, z):
    """log q(z), the mean of q(z|x) over the data."""
    q = vae.variational(x)
    return (
        torch.cat([q.log_prob(part[:, None]).logsumexp(1) for part in z.split(200)])
        - torch.tensor(len(x)).log()
    )


found = {}
print(
    "beta   information + KL(q(z)‖p(z))   holes   outside   log p(x) of new digits   E_q log p(x|z)"
)
for beta, vae in vaes.items():
    torch.manual_seed(1)
    split = pv.diagnostics.latents(vae, x, num_samples=10, progress=False)
    bound = pv.diagnostics.elbo(vae, x_test, num_samples=50, progress=False)
    with torch.no_grad():
        z = vae.prior().sample((DRAWS,))
        density = log_aggregate(vae, z[:1000]) - vae.prior().log_prob(z[:1000])
        log_evidence = torch.cat(
            [vae.likelihood(z).log_prob(one[None]).logsumexp(0, True) for one in x_test]
        )
    found[beta] = {
        "information": split.information.value,
        "marginal": split.marginal.value,
        "holes": (density < -torch.tensor(10.0).log()).double().mean().item(),
        "outside": (pv.reconstruct(vae, x)["z"].norm(dim=1) > 3).double().mean().item(),
        "log p(x)": (log_evidence - torch.tensor(DRAWS).log()).mean().item(),
        "reconstruction": bound.reconstruction.value.mean().item(),
    }
    print(
        "{:4g}{:14.2f} +{:13.2f}{:13.1%}{:10.1%}{:18.2f}{:22.2f}".format(
            beta, *found[beta].values()
        )
    )

# %% [markdown]
# A straight line from one datum to another. What is decoded on the way, and how empty is the
# emptiest place on it?

# %%
ends = x[[0, 6]]
lines, dips = {}, {}
for beta, vae in vaes.items():
    with torch.no_grad():
        pairs = vae.variational(x[:200]).mean.reshape(100, 2, 1, 2)
        ways = torch.lerp(pairs[:, 0], pairs[:, 1], torch.linspace(0, 1, 21)[:, None])
        log_q = log_aggregate(vae, ways.reshape(-1, 2)).reshape(100, 21)
        one, other = vae.variational(ends).mean
    dips[beta] = (torch.minimum(log_q[:, 0], log_q[:, -1]) - log_q.min(1).values).median().item()
    z = torch.lerp(one, other, torch.linspace(0, 1, 12)[:, None])
    lines[beta] = pv.reconstruct(vae, ends[:1].expand(12, -1, -1, -1), at={"z": z})["x"]
    print(
        f"beta {beta:3g}: on the way log q(z) falls by {dips[beta]:.1f} nats below its ends "
        "(median of 100 lines)"
    )

# %%
figure = Figure(figsize=(10, 8.8), layout="constrained", dpi=90)
turn = torch.linspace(0, 6.3, 100)
upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.35])
for ax, (beta, vae) in zip(upper.subplots(1, 3), vaes.items()):
    z = pv.reconstruct(vae, x[:500])["z"]
    ax.scatter(*z.T, s=5, c=digits.labels[0][:500], cmap="tab10", linewidths=0)
    for r in (1, 2, 3):
        ax.plot(
            r * turn.cos(),
            r * turn.sin(),
            color="k",
            linewidth=0.8,
            label="p(z): 1, 2, 3 deviations" if r == 1 else None,
        )
    ax.set(
        title=f"beta = {beta:g}: KL(q(z)‖p(z)) = {found[beta]['marginal']:.2f}",
        xlabel="z[0]",
        ylabel="z[1]",
    )
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(loc="upper left", fontsize="small")
axes = lower.subplots(6, 12)
for i, (beta, vae) in enumerate(vaes.items()):
    torch.manual_seed(2)
    for row, images, what in (
        (i, lines[beta], "line"),
        (i + 3, pv.simulate(vae, 12, mean=True)["x"], "prior"),
    ):
        axes[row, 0].set_ylabel(f"{what}\nbeta {beta:g}")
        for ax, image in zip(axes[row], images):
            ax.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
lower.suptitle(
    "decoded along a straight line between two data, and from draws of the prior", fontsize="medium"
)
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "continuous.png")
