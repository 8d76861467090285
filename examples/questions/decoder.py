# %% [markdown]
# # Is the gap a measure of the decoder?
# No. The gap says how well the encoder fits its decoder. Prior and decoder together are measured by
# log p(x), and only on images that were not trained on. Here the same pair is trained on fewer
# images, in as many steps.

# %%
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure
from pair import EPOCHS, digits, load, make, train, write_table, x_test, x_train

import pyro_vae as pv
from pyro_vae.look.style import COLOURS, STYLE

COUNTS = [30, 100, 300]  # images to train on, besides all 1,297
STEPS = EPOCHS * 11  # as many as the pair of the page had
ROWS = 300
SIZE = 150  # grid points in each dimension
OUT = Path("runs/questions")


def measure(vae, x):
    grid = pv.diagnostics.grid_posterior(vae, x[:ROWS], size=SIZE, bounds=(-5.0, 5.0))
    return {"log p(x)": grid.log_evidence.mean().item(), "gap": grid.gap.mean().item()}


# %% [markdown]
# Each pair is measured twice: on the first of the images that it was trained on, and on new ones.

# %%
found = {}
for count in [*COUNTS, len(x_train)]:
    if count in COUNTS:
        batches = -(-count // 128)
        vae = train(make(), data=digits.train[:count], epochs=STEPS // batches)
    else:
        vae = load()
    found[count] = {"seen": measure(vae, x_train[:count]), "new": measure(vae, x_test)}

# %%
quantities = [(name, which) for name in ("log p(x)", "gap") for which in ("seen", "new")]
write_table(
    OUT / "decoder.txt",
    ["trained on", *(f"{name}, {which} images" for name, which in quantities)],
    [
        [f"{count:,} images", *(f"{row[which][name]:.2f}" for name, which in quantities)]
        for count, row in found.items()
    ],
)

# %%
matplotlib.style.use(STYLE)
figure = Figure(figsize=(8, 3), layout="constrained")
looks = {"seen": ("o--", "images trained on"), "new": ("s-", "300 new images")}
colours = {"log p(x)": COLOURS["data"], "gap": COLOURS["posterior"]}
for ax, (name, colour) in zip(figure.subplots(1, 2), colours.items()):
    for which, (line, label) in looks.items():
        ax.plot(
            list(found),
            [row[which][name] for row in found.values()],
            line,
            color=colour,
            label=label,
        )
    ax.set(xscale="log", title=name, xlabel="images trained on", ylabel="nats, mean")
    ax.set_xticks(list(found), [f"{count:,}" for count in found])
    ax.minorticks_off()
    ax.legend()
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "decoder.png")
