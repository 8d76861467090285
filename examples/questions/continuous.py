# %% [markdown]
# # What makes the latent space continuous?
# The loss does not ask for it (see scramble.py). But the decoder is trained on draws of a wide
# q(z|x), so that the blobs of many images overlap. Where they do, it must decode a compromise. That
# is cheap only between similar images, so similar images are given neighbouring places.

# %%
import math
from functools import partial
from pathlib import Path

import torch
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from pair import labels_test, load, make, train, write_table, x_test, x_train
from torch import nn

import pyro_vae as pv
from pyro_vae.look.style import COLOURS, STYLE

EPOCHS = 300  # of the pairs that differ in beta
SHORT_EPOCHS = 80  # of the many pairs that differ in the width of q
BETAS = [0.0, 0.1, 1.0]
SEEDS = [0, 1, 2]
DRAWS = 1000  # of q(z|x) for each image, for the ELBO
SIZE = 220  # points in each dimension, for log p(x)
OUT = Path("runs/questions")

N = len(x_train)
vaes = {beta: load() if beta == 1 else train(make(), beta=beta, epochs=EPOCHS) for beta in BETAS}

# %% [markdown]
# First, one pair with other seats. The bells of q(z|x) stay where they are, but the images that own
# them are shuffled. The cost does not change: it knows the bells, and not whose they are. Only the
# reconstruction knows. Here is its value under the best decoder that there can be: at each z it
# says the mean of all images, weighted by how likely each is to have been encoded there.

# %%
WIDTHS = [0.01, 0.03, 0.1, 0.3, 1.0]  # of the bells, as shares of the trained widths


@torch.no_grad()
def reconstruct_best(images, loc, scale):
    """E_q log p(x|z) of the best decoder for each image, `[n]`, one draw of each bell."""
    bells = torch.distributions.Normal(loc, scale)
    z = bells.sample()
    weights = bells.log_prob(z[:, None]).sum(2).softmax(1)  # q(x|z)
    pixels = (weights @ images.flatten(1)).clamp(1e-6, 1 - 1e-6)
    return torch.distributions.Bernoulli(pixels).log_prob(images.flatten(1)).sum(1)


q = vaes[1.0].variational(x_train).base_dist
loc, scale = q.loc.detach(), q.scale.detach()
seats = {}
for width in WIDTHS:
    torch.manual_seed(0)
    own = torch.stack([reconstruct_best(x_train, loc, width * scale) for _ in range(5)])
    shuffled = [
        reconstruct_best(x_train[torch.randperm(N)], loc, width * scale).mean() for _ in range(5)
    ]
    seats[width] = own.mean(1), torch.stack(shuffled)


def write_mean(values, digits=2):
    """A mean with its standard error."""
    values = torch.as_tensor(values).double()
    return f"{values.mean():.{digits}f} ± {values.std() / len(values) ** 0.5:.{digits}f}"


def write_difference(own, shuffled):
    """The difference of the means as they are shown, with its standard error."""
    difference = round(own.mean().item(), 2) - round(shuffled.mean().item(), 2)
    return f"{difference:.2f} ± {(own - shuffled).std() / len(own) ** 0.5:.2f}"


write_table(
    OUT / "seats.txt",
    ["width of the bells, 1 is as trained", *(f"{width:g}" for width in WIDTHS)],
    [
        ["own seats, nats", *(write_mean(own) for own, _ in seats.values())],
        ["shuffled seats, nats", *(write_mean(shuffled) for _, shuffled in seats.values())],
        ["own less shuffled", *(write_difference(*pair) for pair in seats.values())],
    ],
)

# %% [markdown]
# So the width of q makes the order. What makes q wide? The cost. Here it is weighted by beta.
#
# - Width: the scale of q(z|x), the median over images and both directions.
# - Information: what z tells about which image it came from, at most log N. The cost is information
#   plus KL(q(z) ‖ p(z)), where q(z) is the mean of q(z|x) over the images.
# - Sharing: N / exp(information), how many images share a place.
# - Holes: the share of the prior where q(z) is less than a tenth of p(z).
# - Outside: the share of images with a draw further than 3 from the centre.
# - Detour: on a straight walk between two images, the pixels that change on the way, divided by the
#   pixels that differ between its ends. The least is 1.


# %%
def log_aggregate(bells, z):
    """log q(z), the mean of q(z|x) over the images."""
    parts = [bells.log_prob(part[:, None]).sum(2).logsumexp(1) for part in z.split(200)]
    return torch.cat(parts) - math.log(N)


def encode(vae, x):
    q = vae.variational(x).base_dist
    return torch.distributions.Normal(q.loc, q.scale.expand_as(q.loc))


def list_walks(bells):
    """Straight walks between a hundred pairs of images, `[100, 201, 2]`."""
    first, last = bells.loc[:200].reshape(100, 2, 1, 2).unbind(1)
    return torch.lerp(first, last, torch.linspace(0, 1, 201)[:, None])


def measure_detour(vae, bells):
    pixels = vae.likelihood(list_walks(bells)).mean
    on_the_way = pixels.diff(dim=1).abs().sum()
    at_the_ends = (pixels[:, -1] - pixels[:, 0]).abs().sum()
    return (on_the_way / at_the_ends).item()


def measure_sharing(bells):
    """The information, and how many images share a place."""
    z = bells.sample()
    own = bells.log_prob(z).sum(1)
    information = (own - log_aggregate(bells, z)).mean().item()
    return information, N / math.exp(information)


def measure_holes(bells, draws=2000):
    z = torch.randn(draws, 2)
    log_prior = -z.square().sum(1) / 2 - math.log(math.tau)
    return (log_aggregate(bells, z) < log_prior - math.log(10)).double().mean().item()


@torch.no_grad()
def measure(vae):
    torch.manual_seed(1)
    bells = encode(vae, x_train)
    split = pv.diagnostics.latents(vae, x_train, num_samples=10, progress=False)
    bound = pv.diagnostics.elbo(vae, x_test, num_samples=DRAWS, progress=False)
    grid = pv.diagnostics.grid_posterior(vae, x_test, size=SIZE, bounds=(-6.0, 6.0))
    log_q = log_aggregate(bells, list_walks(bells).flatten(0, 1)).reshape(100, 201)
    fall = torch.minimum(log_q[:, 0], log_q[:, -1]) - log_q.min(1).values
    return {
        "information": split.information.value,
        "marginal": split.marginal.value,
        "sharing": N / math.exp(split.information.value),
        "holes": measure_holes(bells, draws=10 * DRAWS),
        "outside": (bells.sample((50,)).norm(dim=2) > 3).double().mean().item(),
        "width": bells.scale.median().item(),
        "fall": fall.median().item(),
        "detour": measure_detour(vae, bells),
        "reconstruction": bound.reconstruction.value,
        "cost": bound.kl.value,
        "log p(x)": grid.log_evidence,
        "gap": grid.log_evidence - bound.value,
    }


found = {beta: measure(vae) for beta, vae in vaes.items()}
ROWS = {
    "width of a bell": ("width", "{:.2g}"),
    "information": ("information", "{:.2f}"),
    "+ KL(q(z) ‖ p(z))": ("marginal", "{:.2f}"),
    "images that share a place": ("sharing", "{:.1f}"),
    "holes": ("holes", "{:.1%}"),
    "outside": ("outside", "{:.1%}"),
    "fall of log q(z) on a walk": ("fall", "{:,.1f}"),
    "detour of a walk": ("detour", "{:.2f}"),
}
NEW = {
    "reconstruction of new images": "reconstruction",
    "- cost of new images": "cost",
    "+ gap of new images": "gap",
    "= log p(x) of new images": "log p(x)",
}
write_table(
    OUT / "betas.txt",
    ["nats, unless % or a count", *(f"beta {beta:g}" for beta in BETAS)],
    [
        *(
            [name, *(form.format(found[b][key]) for b in BETAS)]
            for name, (key, form) in ROWS.items()
        ),
        *([name, *(write_mean(found[b][key]) for b in BETAS)] for name, key in NEW.items()),
    ],
)

# %% [markdown]
# Now the width of q is fixed, and three decoders are trained with each: a stiff one of 8 hidden
# units, that of the page, and a flexible one, which is given z as waves. Width 0 stands for a plain
# autoencoder: it decodes the mean instead of a draw, and it has no cost. Each is trained three
# times from other starts.


# %%
class Waves(nn.Module):
    """A network that is given sin and cos of z at many frequencies."""

    def __init__(self, given_shapes, out_shape):
        super().__init__()
        self.register_buffer("frequencies", 3 * torch.randn(2, 128))
        self.net = pv.networks.mlp([(256,)], out_shape, hidden=(128,))

    def forward(self, z):
        waves = z @ self.frequencies
        return self.net(torch.cat([waves.sin(), waves.cos()], -1))


class DecodeMean(nn.Module):
    """The loss of a plain autoencoder."""

    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, x):
        return -self.vae.likelihood(self.vae.variational(x).mean).log_prob(x).mean()


DECODERS = {
    "stiff": partial(pv.networks.mlp, hidden=(8,), activation=nn.Tanh),
    "as above": partial(pv.networks.mlp, hidden=(128,)),
    "flexible": Waves,
}
FIXED = [0.0, 0.01, 0.1, 0.3]


def train_fixed(net, width, seed):
    torch.manual_seed(seed)
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli((1, 8, 8), given=2, net=net),
        variational=pv.Normal(
            2,
            given=(1, 8, 8),
            net=partial(pv.networks.mlp, hidden=(128,)),
            scale=width or 1e-4,
        ),
    )
    pv.fit(
        vae,
        x_train,
        epochs=SHORT_EPOCHS,
        learning_rate=3e-3,
        objective=None if width else DecodeMean(vae),
        seed=seed,
        progress=False,
    )
    return vae


detours, sharing, holes = {}, {}, {}
for name, net in DECODERS.items():
    for width in FIXED:
        trained = [train_fixed(net, width, seed) for seed in SEEDS]
        with torch.no_grad():
            bells = [encode(vae, x_train) for vae in trained]
            detours[name, width] = [measure_detour(vae, b) for vae, b in zip(trained, bells)]
            sharing[name, width] = [measure_sharing(b)[1] for b in bells]
            holes[name, width] = [100 * measure_holes(b) for b in bells]

write_table(
    OUT / "widths.txt",
    ["fixed width of q", *(f"{width:g}" for width in FIXED)],
    [
        *(
            [f"detour, decoder {name}", *(write_mean(detours[name, w]) for w in FIXED)]
            for name in DECODERS
        ),
        ["images that share a place", *(write_mean(sharing["as above", w], 1) for w in FIXED)],
        ["holes, %", *(write_mean(holes["as above", w], 1) for w in FIXED)],
    ],
)

# %%
style.use(STYLE)
OUT.mkdir(parents=True, exist_ok=True)
figure = Figure(figsize=(8, 7), layout="constrained")
upper, lower = figure.subfigures(2, 1, height_ratios=[2.3, 1])
fine = torch.linspace(-4, 4, 80)
places = torch.cartesian_prod(fine, fine)
ends = x_train[[0, 6]]


def draw_plane(ax, vae, walk):
    """Ellipses of 40 new images, one deviation wide, over the holes of q(z)."""
    log_prior = -places.square().sum(1) / 2 - math.log(math.tau)
    is_hole = log_aggregate(encode(vae, x_train), places) < log_prior - math.log(10)
    is_hole &= places.norm(dim=1) < 3
    ax.contourf(fine, fine, is_hole.reshape(80, 80).T, levels=[0.5, 1.5], colors=["#d9d9d9"])
    turn = torch.linspace(0, math.tau, 100)
    ax.plot(3 * turn.cos(), 3 * turn.sin(), color=COLOURS["prior"])
    bells = encode(vae, x_test[:40])
    for (a, b), (width, height), label in zip(bells.loc, 2 * bells.scale, labels_test):
        ax.add_patch(
            Ellipse((a, b), width, height, fill=False, color=COLOURS["variational"], lw=0.8)
        )
        ax.text(a, b, int(label), ha="center", va="center", fontsize=8, clip_on=True)
    ax.plot(*walk.T, color=COLOURS["posterior"])
    ax.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xlabel="z[0]")


lines = {}
planes, falls = upper.subplots(2, 3, height_ratios=[2.2, 1], sharey="row")
with torch.no_grad():
    for beta, plane, below in zip(BETAS, planes, falls):
        first, last = encode(vaes[beta], ends).loc
        walk = torch.lerp(first, last, torch.linspace(0, 1, 201)[:, None])
        lines[beta] = vaes[beta].likelihood(walk[::20]).mean
        draw_plane(plane, vaes[beta], walk)
        plane.set_title(f"beta {beta:g}: {found[beta]['holes']:.1%} holes (grey)")
        log_q = log_aggregate(encode(vaes[beta], x_train), walk)
        below.plot(torch.linspace(0, 1, 201), log_q, color=COLOURS["posterior"])
        below.set(ylim=(-30, 8), xlabel="share of the walk", xticks=[0, 0.5, 1])
        if log_q.min() < -30:
            below.set_title(f"down to {log_q.min():,.0f}", fontsize="small")
planes[0].set_ylabel("z[1]")
falls[0].set_ylabel("log q(z)")

for axes, (beta, images) in zip(lower.subplots(3, 11), lines.items()):
    axes[0].set_ylabel(f"beta {beta:g}", rotation=0, ha="right", va="center")
    for ax, image in zip(axes, images):
        ax.imshow(image[0], vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
lower.suptitle("decoded on the walk, the blue line above")
figure.savefig(OUT / "continuous.png")

# %%
figure = Figure(figsize=(8, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
for i, (name, mark, colour) in enumerate(
    (("own", "o-", "data"), ("shuffled", "s--", "variational"))
):
    values = [pair[i].mean().item() for pair in seats.values()]
    left.plot(WIDTHS, values, mark, color=COLOURS[colour], label=f"{name} seats")
left.set_xscale("log")
left.set_xticks(WIDTHS, [f"{width:g}" for width in WIDTHS])
left.set(title="the best decoder of all", xlabel="width of the bells, 1 is as trained")
left.set(ylabel="reconstruction, nats")
left.legend(loc="lower left")
marks = {"stiff": ("s--", "prior"), "as above": ("o-", "data"), "flexible": ("^:", "variational")}
for name, (mark, colour) in marks.items():
    means, errors = zip(
        *(
            (torch.tensor(detours[name, w]).mean(), torch.tensor(detours[name, w]).std())
            for w in FIXED
        )
    )
    errors = torch.stack(errors) / len(SEEDS) ** 0.5
    right.errorbar(range(len(FIXED)), means, errors, fmt=mark, color=COLOURS[colour], label=name)
right.set_xticks(range(len(FIXED)), ["0, the mean", *(f"{width:g}" for width in FIXED[1:])])
right.set(title="three trained decoders", xlabel="fixed width of q", ylabel="detour of a walk")
right.legend()
figure.savefig(OUT / "seats.png")
