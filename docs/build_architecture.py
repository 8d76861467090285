"""Draws docs/figures/architecture.png, the picture of docs/architecture.md.

python docs/build_architecture.py
"""

from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FILE = Path(__file__).parent / "figures" / "architecture.png"
INK, QUIET = "#1f2933", "#66727f"
PARTS, WEIGHTS, RAISED, MEASURED = "#e8eef7", "#fdf0d5", "#e4f3e8", "#f4e8f3"


class Box(NamedTuple):
    """A folder: its verb, where it lies, its colour, and what it says."""

    folder: str
    verb: str
    corner: tuple[float, float]
    size: tuple[float, float]
    colour: str
    text: str = ""


BOXES = [
    Box("conditionals", "choose conditionals", (0.1, 1.3), (2.55, 3.0), PARTS),
    Box("pairs", "pair them into p and q", (3.35, 1.3), (2.55, 3.0), PARTS),
    Box(
        "weights",
        "weigh them",
        (6.6, 1.3),
        (2.8, 3.0),
        WEIGHTS,
        "log w =  log p(x | z)\n         + log p(z)\n         – log q(z | x)\n\n"
        "where z is drawn from q,\none for each draw\nand each datum",
    ),
    Box(
        "objectives",
        "choose an objective",
        (10.1, 3.2),
        (2.7, 1.6),
        RAISED,
        "ELBO: the mean of log w\nIWAE: the log of the\nmean of w",
    ),
    Box(
        "training",
        "train",
        (13.5, 3.2),
        (2.3, 1.6),
        RAISED,
        "gradient steps that\nraise the objective",
    ),
    Box(
        "diagnostics",
        "measure",
        (10.1, 0.5),
        (2.7, 1.6),
        MEASURED,
        "log p(x)\nKL(q(z | x) ‖ p(z | x))\neach with its error",
    ),
    Box("look", "look", (13.5, 0.5), (2.3, 1.6), MEASURED, "tables, figures,\na report"),
]
INNER_BOXES = [
    (0.3, 2.95, "prior  p(z)"),
    (0.3, 2.25, "likelihood  p(x | z)"),
    (0.3, 1.55, "variational  q(z | x)"),
    (3.55, 2.6, "model  p(x | z) p(z)"),
    (3.55, 1.55, "guide  q(z | x)"),
]
ARROWS = [
    ((2.45, 3.2), (3.55, 2.95)),
    ((2.45, 2.5), (3.55, 2.75)),
    ((2.45, 1.8), (3.55, 1.8)),
    ((5.9, 2.8), (6.6, 2.8)),
    ((9.4, 3.4), (10.1, 4.0)),
    ((9.4, 2.2), (10.1, 1.3)),
    ((12.8, 4.0), (13.5, 4.0)),
    ((12.8, 1.3), (13.5, 1.3)),
    ((8.0, 0.55), (8.0, 1.3)),  # the data
    ((1.35, 5.7), (1.35, 4.8)),  # the end of the way back from training
]


def add_shape(axes: Axes, corner: tuple, size: tuple, colour: str) -> None:
    shape = FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.12")
    shape.set(facecolor=colour, edgecolor="none")
    axes.add_patch(shape)


def add_box(axes: Axes, number: int, box: Box) -> None:
    x, y = box.corner
    top = y + box.size[1]

    add_shape(axes, box.corner, box.size, box.colour)
    axes.text(x, top + 0.13, f"{number}  {box.verb}", weight="bold", size=11, color=INK)
    axes.text(x + 0.2, top - 0.4, f"{box.folder}/", family="monospace", size=11, color=INK)
    axes.text(x + 0.2, top - 0.6, box.text, size=10, color=INK, va="top", linespacing=1.25)


def add_inner_box(axes: Axes, x: float, y: float, text: str) -> None:
    add_shape(axes, (x, y), (2.15, 0.5), "white")
    axes.text(x + 0.1, y + 0.23, text, size=10, color=INK, va="center")


def add_arrow(axes: Axes, start: tuple, end: tuple) -> None:
    arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, shrinkA=0, shrinkB=1)
    arrow.set(color=QUIET, linewidth=1.4)
    axes.add_patch(arrow)


def draw() -> Figure:
    figure = Figure(figsize=(12, 4.8), dpi=130)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.1, 15.9), ylim=(-0.1, 6.3))
    axes.axis("off")

    for number, box in enumerate(BOXES, start=1):
        add_box(axes, number, box)
    for inner in INNER_BOXES:
        add_inner_box(axes, *inner)
    for start, end in ARROWS:
        add_arrow(axes, start, end)

    axes.plot([14.65, 14.65, 1.35], [5.25, 5.7, 5.7], color=QUIET, linewidth=1.4)
    axes.text(8.0, 5.85, "new parameters", size=10, color=QUIET, ha="center")
    axes.text(8.0, 0.2, "x, from data/", size=10, color=QUIET, ha="center")
    axes.text(0.1, 0.9, "made of distributions/\nand networks/", size=10, color=QUIET, va="top")

    return figure


if __name__ == "__main__":
    draw().savefig(FILE, metadata={"Software": None})
