"""The hierarchical VAE: latents at several levels, then x."""

from itertools import pairwise

import torch
from matplotlib.figure import Figure

import pyro_vae as pv
from pyro_vae.arguments import check_choice
from pyro_vae.cli import drawing
from pyro_vae.cli.data import Rows, RunData
from pyro_vae.cli.parts import Config, Parts
from pyro_vae.cli.stories.story import (
    NUM_SAMPLES,
    Drawn,
    Figures,
    Request,
    Shown,
    Story,
    arrange_plainly,
    make_template,
    refuse_given,
)
from pyro_vae.diagnostics import Picture
from pyro_vae.diagnostics.latents import Level
from pyro_vae.look import plots
from pyro_vae.look.findings import Finding, Findings

ORDERS = {"bottom-up": "bottom_up", "top-down": "top_down"}
ROWS, COLUMNS = 6, 10  # of the figure of levels


def read_levels(text: str) -> list[int]:
    """The sizes of the levels, from the bottom up.

    Raises:
        ValueError: if they are no positive whole numbers with commas between.

    Example:
        >>> read_levels("40,20")
        [40, 20]
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) > 0 for word in words):
        raise ValueError(
            "levels: expected positive whole numbers with commas between, from the bottom level "
            f"up, such as 40,20, got {text!r}"
        )
    return [int(word) for word in words]


def build(config: Config, data: RunData) -> pv.HierarchicalVAE:
    """p of each level given the one above, p(x|z1), and q of each level."""
    check_choice("order", config["order"], ORDERS)
    parts = Parts(config, data.dataset.splits.values())
    sizes = read_levels(config["levels"])

    torch.manual_seed(config["seed"])
    if config["order"] == "bottom-up":
        first = parts.make_variational(sizes[0], parts.event)
        above = [parts.make_inner(upper, lower) for lower, upper in _pair_up(sizes)]
        variationals = [first, *above]
    else:
        top = parts.make_variational(sizes[-1], parts.event)
        below = [
            parts.make_variational(lower, [parts.event, upper]) for lower, upper in _pair_up(sizes)
        ]
        variationals = [top, *reversed(below)]
    lower_priors = [parts.make_inner(lower, upper) for lower, upper in _pair_up(sizes)]

    return pv.HierarchicalVAE(
        priors=[parts.make_prior(sizes[-1]), *reversed(lower_priors)],
        likelihood=parts.make_likelihood(sizes[0]),
        variationals=variationals,
        order=ORDERS[config["order"]],
    )


def _pair_up(sizes: list[int]) -> list[tuple[int, int]]:
    """The sizes of each two neighbours, the lower first, from the bottom up."""
    return list(pairwise(sizes))


def draw(shown: Shown) -> Figures:
    """Data, samples, what each level says, and where it lies."""
    pair, (x,) = shown.pair, shown.rows
    reconstructed = pv.reconstruct(pair, x)
    template = make_template(pair, shown.data, 60)
    simulated = pv.simulate(pair, template, mean=True)["x"]
    top = pair.levels[0]

    figures = {
        "reconstructions": plots.reconstructions(x[:12], reconstructed["x"][:12]),
        "samples": drawing.draw_samples(simulated),
    }
    if len(pair.levels) > 1:
        figures["levels"] = _draw_levels(pair, shown.data)
    for level in pair.levels:
        figures[f"latents-{level}"] = plots.latents(
            reconstructed[level], shown.labels, title=f"draws of q({level}|x), one for each datum"
        )
    return figures | drawing.draw_posterior(shown, top, reconstructed[top], on_grid=False)


def _draw_levels(pair: pv.HierarchicalVAE, data: RunData) -> Figure:
    """In each row the upper levels stay as they are, and the levels below are drawn anew."""
    template = make_template(pair, data, ROWS)
    drawn = pv.simulate(pair, template)
    each = max(1, ROWS // (len(pair.levels) - 1))
    rows = {}
    for count in range(1, len(pair.levels)):
        fixed = pair.levels[:count]
        for row in range(each):
            at = {
                level: drawn[level][row].expand(COLUMNS, *drawn[level][row].shape)
                for level in fixed
            }
            means = pv.reconstruct(pair, make_template(pair, data, COLUMNS), at=at)["x"]
            rows[f"{', '.join(fixed)}  #{row + 1}"] = means
    title = "means of p(x|z1): in a row the named levels stay, those below are drawn anew"
    return plots.rows(rows, title=title)


def sample(pair: pv.HierarchicalVAE, data: RunData, request: Request) -> Drawn:
    """All levels from the top down, then x."""
    refuse_given(request)
    count = 100 if request.draws is None else request.draws
    drawn = pv.simulate(pair, make_template(pair, data, count))
    z = {level: drawn[level] for level in pair.levels}
    means = pv.reconstruct(pair, drawn["x"], at=z)["x"]

    return Drawn(drawn, plots.data(means, title=drawing.SAMPLES))


def measure(pair: pv.HierarchicalVAE, data: RunData, rows: Rows, picture: Picture) -> Findings:
    """What each level says of x, beside what it costs, which the picture holds."""
    levels = picture.latents.levels if picture.latents is not None else None
    if levels is None:
        return {}

    return {
        "What each level says of x, beyond the levels that q draws before it": [
            Finding(f"I_q(x; {name})", level.information, f"nats, {_count_active(level)}")
            for name, level in levels.items()
        ]
    }


def _count_active(level: Level) -> str:
    return f"{int(level.active.sum())} of {len(level.active)} dimensions are active"


STORY = Story(
    how="--pair hierarchical",
    options={
        "prior": "standard-normal",
        "likelihood": "bernoulli",
        "levels": "16,8",
        "order": "bottom-up",
        "num_samples": NUM_SAMPLES,
    },
    arrange=arrange_plainly,
    build=build,
    draw=draw,
    sample=sample,
    measure=measure,
    refused={"total-correlation": "it is of one latent, and each level is one"},
    is_refitted=False,
)
