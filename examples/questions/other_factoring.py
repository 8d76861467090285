# %% [markdown]
# # Would comparing q(x|z) with p(x|z) do as well?
# Encoder and data together are a distribution of x and z, q(x,z) = data(x) q(z|x). Prior and
# decoder are another, p(x,z) = p(z) p(x|z). The KL between the two can be split in two ways:
#
#     KL(q(x,z) ‖ p(x,z)) = A, the mean gap KL(q(z|x) ‖ p(z|x))  +  B, KL(data ‖ p(x))
#                         = C, KL(q(z) ‖ p(z))  +  D, the mean of KL(q(x|z) ‖ p(x|z))
#
# D compares the decoder with the encoder turned round, q(x|z) = q(z|x) data(x) / q(z).

# %%
import math
from pathlib import Path

import torch
from matplotlib import style
from matplotlib.figure import Figure
from pair import load, make, write_table, x_train
from torch import nn
from torch.nn.functional import softplus

import pyro_vae as pv
from pyro_vae.look.style import COLOURS, STYLE

EPOCHS = 1000  # of the training that follows, a step each
DRAWS = 200  # of z in a step on D alone
ROWS = 1297  # images, all of them
SIZE = 250  # points in each dimension, for log p(x)
START = 15  # of the axis of the sums, nats
OUT = Path("runs/questions")

x = x_train[:ROWS]
N = len(x)
trained = load()

# %% [markdown]
# q(x|z) at one z is a list: a weight for each image that was trained on. p(x|z) says how likely
# each pixel is black, and with that each of all 2^64 images that could be.

# %%
z = torch.tensor([1.0, 0.5])
with torch.no_grad():
    weights = trained.variational(x).log_prob(z).softmax(0)
    mean_of_list = (weights @ x.flatten(1)).reshape(8, 8)
    decoded = trained.likelihood(z).mean[0]
top = weights.topk(9)
entropy = -(weights * weights.log()).nansum().item()
print("largest weights, %:", [round(100 * w, 1) for w in top.values.tolist()])
print(f"as many as {math.exp(entropy):.0f} images of equal weight")

# %% [markdown]
# Why not minimise D, and nothing else? Each z must be compared with all images, because q(z) is
# their mean. The ELBO needs one bell for each draw, and this one all N of them. Here the trained
# pair is trained on, once with C + D and once with D alone, from the same start. C + D is minus the
# ELBO, less log N.


# %%
class OtherFactoring(nn.Module):
    """C + D, or D alone, at draws z of the bells of some images."""

    def __init__(self, vae, has_c):
        super().__init__()
        self.vae, self.has_c = vae, has_c

    def forward(self, x):
        q = self.vae.variational(x)
        rows = torch.randperm(len(x))[:DRAWS]
        z = q.rsample()[rows]

        log_q = q.log_prob(z[:, None])  # log q(zᵢ|xⱼ) for all images j
        log_q_z = log_q.logsumexp(1) - math.log(len(x))
        log_q_x = log_q[torch.arange(len(rows)), rows] - math.log(len(x)) - log_q_z
        c = log_q_z - self.vae.prior().log_prob(z)
        d = log_q_x - self.vae.likelihood(z).log_prob(x[rows])
        return (c + d if self.has_c else d).mean()


def train_on(has_c):
    """The trained pair, trained on."""
    vae = load().train()
    how = {"batch_size": N, "learning_rate": 3e-3, "seed": 0, "progress": False}
    pv.fit(vae, x, epochs=EPOCHS, objective=OtherFactoring(vae, has_c), **how)
    return vae


both, alone = train_on(has_c=True), train_on(has_c=False)

# %% [markdown]
# The four terms. For A and B one needs log p(x), a sum over a grid. The last pair is the first with
# its prior moved to (3, 3), and not trained again. D stays the same to the last digit, because p(z)
# does not occur in it. So minimising D can teach nothing about p(z).

# %%
moved = make(prior=pv.Normal(2, loc=torch.tensor([3.0, 3.0]), scale=1.0))
moved.likelihood, moved.variational = trained.likelihood, trained.variational
vaes = {
    "as trained": trained,
    "trained on, C + D": both,
    "trained on, D alone": alone,
    "as trained, prior moved": moved,
}


@torch.no_grad()
def sum_evidence(vae):
    """log p(x) of each image, summed over a grid."""
    axis = torch.linspace(-6, 9, SIZE)
    log_cell = 2 * math.log(axis[1] - axis[0])
    parts = []
    for z in torch.cartesian_prod(axis, axis).split(10_000):
        logits = vae.likelihood(z).base_dist.logits.flatten(1)
        log_likelihood = logits @ x.flatten(1).T - softplus(logits).sum(1, keepdim=True)
        parts.append((vae.prior().log_prob(z)[:, None] + log_likelihood + log_cell).logsumexp(0))
    return torch.stack(parts).logsumexp(0)


def measure(vae):
    torch.manual_seed(1)
    return pv.diagnostics.joint_kl(
        vae, x, num_samples=60, log_evidence=sum_evidence(vae), progress=False
    )


found = {name: measure(vae) for name, vae in vaes.items()}
TERMS = {"A": "posterior", "B": "evidence", "C": "marginal", "D": "likelihood"}


def write_terms(kl):
    """The terms and their sum. B and C are rounded so that both sums close to the last digit."""
    a, d, total = (round(term.value, 2) for term in (kl.posterior, kl.likelihood, kl.total))
    return [f"{value:.2f}" for value in (a, total - a, total - d, d, total)]


write_table(
    OUT / "factoring.txt",
    ["nats", "A, gap", "+ B", "= C", "+ D", "A + B = C + D"],
    [[name, *write_terms(kl)] for name, kl in found.items()],
)

# %% [markdown]
# The left side is nothing new. It is minus the mean ELBO less the entropy of the data. That is
# log N, where all N images are different.

# %%
torch.manual_seed(2)
elbo = pv.diagnostics.elbo(trained, x, num_samples=100, progress=False)
mean_elbo, error = elbo.value.mean().item(), elbo.stderr.norm().item() / N
left = -mean_elbo - math.log(N)
print(f"-ELBO - log N = {-mean_elbo:.2f} - {math.log(N):.2f} = {left:.2f} ± {error:.2f}")
print(f"A + B = {found['as trained'].total.value:.2f}")

# %%
style.use(STYLE)
figure = Figure(figsize=(8, 6.4), layout="constrained")
upper, middle, lower = figure.subfigures(3, 1, height_ratios=[1, 2.6, 1.6])
axes = upper.subplots(1, 12, width_ratios=[1] * 9 + [0.3, 1.2, 1.2])
images = [*x[top.indices][:, 0], None, mean_of_list, decoded]
titles = [*(f"{100 * weight:.1f} %" for weight in top.values), "", "mean of\nthe list", "p(x|z)"]
for ax, image, title in zip(axes, images, titles):
    ax.set_axis_off()
    ax.set_title(title, fontsize="small")
    if image is not None:
        ax.imshow(image, vmin=0, vmax=1)
upper.suptitle(f"q(x|z) at z = (1, 0.5): the heaviest 9 of {N} weights")

turn = torch.linspace(0, math.tau, 100)
axes = middle.subplots(1, 2, sharex=True, sharey=True)
for ax, (name, vae) in zip(axes, list(vaes.items())[1:3]):
    draws = pv.reconstruct(vae, x)["z"]
    ax.scatter(*draws.T, s=3, color=COLOURS["variational"], label="a draw of q(z|x) for each image")
    for r in (1, 2, 3):
        label = "p(z): 1, 2, 3 deviations" if r == 1 else None
        ax.plot(r * turn.cos(), r * turn.sin(), color=COLOURS["prior"], lw=1.2, label=label)
    ax.set(title=name, xlabel="z[0]", aspect="equal")
axes[0].set_ylabel("z[1]")
middle.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)

ax = lower.subplots()
shades = {"A": "posterior", "B": "prior", "C": "variational", "D": "likelihood"}
labels = []
for i, name in enumerate(list(vaes)[1:3]):
    texts = dict(zip(TERMS, write_terms(found[name])))
    for j, (small, large) in enumerate(("AB", "CD")):
        place = -3 * i - j
        first, second = (getattr(found[name], TERMS[term]).value for term in (large, small))
        ax.barh(place, first, color=COLOURS[shades[large]], alpha=0.6)
        ax.barh(place, second, left=first, color=COLOURS[shades[small]])
        ax.text(START + 0.05, place, f"{large} {texts[large]}", va="center")
        ax.text(first + second + 0.05, place, f"{small} {texts[small]}", va="center")
        labels.append((place, f"{name}: {large} + {small}"))
ax.set_yticks(*zip(*labels))
ax.set(xlim=(START, None), title="the same sum, split in two ways")
ax.set_xlabel(f"nats, from {START}")
ax.margins(x=0.15)
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "other_factoring.png")
