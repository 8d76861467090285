# %% [markdown]
# # Can encoder and decoder agree perfectly where the plane is torn?
# Yes. Cut the plane into rings, turn every ring by another angle, and do so in encoder and decoder.
# Each draw is as likely as before under p(z), p(x|z) and q(z|x). So every number of the loss is the
# same, and neighbours in the plane now decode to different images.

# %%
import math
from pathlib import Path

import pyro.distributions as dist
import torch
from matplotlib import style
from matplotlib.figure import Figure
from pair import load, three, write_table, x_test
from torch import nn
from torch.distributions import Transform, constraints
from torch.nn.functional import pad

import pyro_vae as pv
from pyro_vae.look.style import COLOURS, STYLE

WIDTH = 0.5  # of a ring
TURN = 3 / 8 * math.tau  # of each ring beyond that of the ring before, 135 degrees
WIDTHS = [4.0, 2.0, 1.0, 0.5, 0.25, 0.125]  # of rings, where a single bell stands in for q
BELLS = 20  # images for which the best bell is looked for
SIZE = 240  # points in each dimension, for that
STEPS = [300, 600, 1200]  # of the walk
OUT = Path("runs/questions")

vae = load().double()  # numbers of 16 digits, so that rounding is small
x = x_test.double()


# %% [markdown]
# The map S. It keeps |z| and it keeps areas, so p(z) looks the same before and after.


# %%
class Rings(Transform):
    """Turn each ring of the plane by its own angle."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, width):
        super().__init__()
        self.width = width

    def turn(self, z, sign):
        ring = (z.norm(dim=-1) / self.width).floor()
        turned = torch.view_as_complex(z.contiguous()) * (1j * sign * TURN * ring).exp()
        return torch.view_as_real(turned)

    def _call(self, z):
        return self.turn(z, 1)

    def _inverse(self, z):
        return self.turn(z, -1)

    def log_abs_det_jacobian(self, z, turned):
        return torch.zeros_like(z[..., 0])  # areas stay as they are


class TurnedDecoder(nn.Module):
    """p(x|z), where the decoder first turns the rings back."""

    def __init__(self, likelihood, rings):
        super().__init__()
        self.likelihood, self.rings = likelihood, rings

    def forward(self, z):
        return self.likelihood(self.rings.inv(z))


class TurnedEncoder(nn.Module):
    """q(z|x), where each draw is turned with its ring."""

    def __init__(self, variational, rings):
        super().__init__()
        self.variational, self.rings = variational, rings

    def forward(self, x):
        return dist.TransformedDistribution(self.variational(x), [self.rings])


def scramble(vae, width):
    rings = Rings(width)
    return pv.VAE(
        prior=vae.prior,
        likelihood=TurnedDecoder(vae.likelihood, rings),
        variational=TurnedEncoder(vae.variational, rings),
    )


scrambled = scramble(vae, WIDTH)

# %% [markdown]
# Every number of the two pairs, for each image by itself. log p(x) and the KLs are sums over points
# that lie on circles. S only changes their places, so both pairs are measured at the same points.

# %%
radius = (torch.arange(120).double() + 0.5) * 0.05
angle = torch.arange(128).double() / 128 * math.tau
z = torch.stack([radius[:, None] * angle.cos(), radius[:, None] * angle.sin()], -1).reshape(-1, 2)
log_area = (radius * 0.05 * math.tau / 128).log().repeat_interleave(128)[:, None]


@torch.no_grad()
def measure(vae):
    q = vae.variational(x)
    log_prior = vae.prior().log_prob(z)[:, None]
    log_joint = log_prior + torch.cat(
        [vae.likelihood(part[:, None]).log_prob(x) for part in z.split(1000)]
    )
    log_q = q.log_prob(z[:, None])

    mass = (log_q + log_area).exp()
    mass = mass / mass.sum(0)
    log_evidence = (log_joint + log_area).logsumexp(0)
    return {
        "log p(x)": log_evidence,
        "ELBO": (mass * (log_joint - log_q)).sum(0),
        "gap": (mass * (log_q - log_joint + log_evidence)).sum(0),
        "cost": (mass * (log_q - log_prior)).sum(0),
    }


before, after = measure(vae), measure(scrambled)
apart = {name: (before[name] - after[name]).abs().max().item() for name in before}
write_table(
    OUT / "scramble.txt",
    ["nats, mean of 300 images", "as trained", "scrambled", "largest difference of an image"],
    [
        [name, f"{before[name].mean():.2f}", f"{after[name].mean():.2f}", f"{apart[name]:.0e}"]
        for name in before
    ],
)

# %% [markdown]
# The library's own measurements draw from q. With the same seed they say the same of both.

# %%
drawn = []
for pair in (vae, scrambled):
    torch.manual_seed(0)
    bound = pv.diagnostics.elbo(pair, x, num_samples=100, progress=False)
    evidence = pv.diagnostics.log_evidence(pair, x, num_samples=100, progress=False)
    drawn.append(torch.stack([bound.value, bound.kl.value, evidence.value]))
apart["by draws"] = (drawn[0] - drawn[1]).abs().max().item()
print(f"ELBO, cost and log p(x) by draws: largest difference {apart['by draws']:.0e}")

# %% [markdown]
# A walk straight through the plane, from left to right. How many of the 64 pixels change from one
# step to the next? Where a decoder is continuous, half the step is half the change.


# %%
@torch.no_grad()
def walk(vae, steps):
    """The change of the decoded image at each step, in pixels from white to black."""
    way = torch.stack([torch.linspace(-3, 3, steps + 1), torch.zeros(steps + 1)], 1).double()
    return vae.likelihood(way).mean.diff(dim=0).abs().sum((1, 2, 3))


walks = {steps: (walk(vae, steps), walk(scrambled, steps)) for steps in STEPS}
jumps = {steps: (torn > 2 * smooth.max()).sum().item() for steps, (smooth, torn) in walks.items()}
write_table(
    OUT / "walk.txt",
    ["steps", "largest change, as trained", "largest change, scrambled", "jumps"],
    [
        [steps, f"{smooth.max():.2f}", f"{torn.max():.2f}", jumps[steps]]
        for steps, (smooth, torn) in walks.items()
    ],
)

# %% [markdown]
# But an encoder says one bell for each image, and q(z|x) is now in pieces. What is the best that
# one bell can do? Its ELBO is the mean of log p(x, z) under the bell, plus the bell's entropy. Here
# it is computed for bells everywhere, and of many widths.


# %%
@torch.no_grad()
def find_best_bell(vae, x, size=SIZE):
    """The ELBO of the best upright bell for each image."""
    axis = torch.linspace(-6, 6, size)
    centres = axis[axis.abs() < 3.5]
    z = torch.cartesian_prod(axis, axis)
    log_joint = vae.prior().log_prob(z)[:, None] + torch.cat(
        [vae.likelihood(part[:, None]).log_prob(x) for part in z.split(2000)]
    )
    log_joint = log_joint.T.reshape(-1, size, size)

    scales = [0.06 * 1.45**i for i in range(7)]
    bells = [(-(((centres[:, None] - axis) / scale) ** 2) / 2).softmax(1) for scale in scales]
    best = torch.full(x.shape[:1], -math.inf)
    for scale, bell in zip(scales, bells):
        over_rows = bell @ log_joint
        for other, other_bell in zip(scales, bells):
            mean = (over_rows @ other_bell.T).flatten(1).max(1).values
            best = best.maximum(mean + 1 + math.log(math.tau * scale * other))
    return best


plain = load()
whole = find_best_bell(plain, x_test[:BELLS])
lost = {width: whole - find_best_bell(scramble(plain, width), x_test[:BELLS]) for width in WIDTHS}
means = [lost[width].mean().item() for width in WIDTHS]
errors = [lost[width].std().item() / BELLS**0.5 for width in WIDTHS]
write_table(
    OUT / "bells.txt",
    ["width of a ring", *(f"{width:g}" for width in WIDTHS)],
    [["ELBO lost, nats", *(f"{m:.2f} ± {e:.2f}" for m, e in zip(means, errors))]],
)
typical = plain.variational(x_test).base_dist.scale.median().item()
print(f"q is {typical:.2f} wide (median)")

# %%
style.use(STYLE)
figure = Figure(figsize=(8, 7.2), layout="constrained")
upper, lower = figure.subfigures(2, 1, height_ratios=[1.5, 1])
tiles = (torch.arange(11).double() - 5) / 2  # decoded at these places
fine = torch.linspace(-2.75, 2.75, 300).double()


@torch.no_grad()
def draw_plane(ax, vae, title):
    """What places of the plane decode to, and q(z|x) of three images, two deviations wide."""
    places = torch.cartesian_prod(-tiles, tiles).flip(1)
    images = pad(vae.likelihood(places).mean[:, 0], (2, 2, 2, 2)).reshape(11, 11, 12, 12)
    ax.imshow(images.permute(0, 2, 1, 3).reshape(132, 132), extent=(-2.75, 2.75, -2.75, 2.75))
    for image in three.double():
        log_q = vae.variational(image).log_prob(
            torch.cartesian_prod(fine, fine).reshape(300, 300, 2)
        )
        ax.contour(
            fine,
            fine,
            (log_q - log_q.max()).T,
            levels=[-2],
            colors=COLOURS["variational"],
            linestyles="solid",
        )
    ax.set(title=title, xlabel="z[0]", ylabel="z[1]", xticks=[-2, 0, 2], yticks=[-2, 0, 2])


left, right = upper.subplots(1, 2)
draw_plane(left, vae, "as trained")
draw_plane(right, scrambled, "scrambled: all numbers are the same")

left, right = lower.subplots(1, 2)
way = torch.linspace(-3, 3, STEPS[0] + 1)[1:]
left.plot(way, walks[STEPS[0]][1], color=COLOURS["variational"], label="scrambled")
left.plot(way, walks[STEPS[0]][0], color=COLOURS["data"], label="as trained")
left.set(title="a walk from left to right", xlabel="z[0], at z[1] = 0")
left.set(ylabel="change at a step, pixels of 64", ylim=(-0.5, 27))
left.legend(loc="upper right", ncols=2)
right.errorbar(WIDTHS, means, errors, fmt="o-", color=COLOURS["data"])
right.axvline(typical, color=COLOURS["variational"], linestyle="--")
right.text(typical * 1.1, max(means), "width of q", color=COLOURS["variational"], va="top")
right.set_xscale("log", base=2)
right.set_xticks(WIDTHS, [f"{width:g}" for width in WIDTHS])
right.set(
    title="one bell in place of q's pieces", xlabel="width of a ring", ylabel="ELBO lost, nats"
)

OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "scramble.png")
