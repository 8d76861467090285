"""The house style of all figures, and the colours of p and q in them."""

from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.colors import LinearSegmentedColormap

from pyro_vae.arguments import check_choice

STYLE = Path(__file__).with_name("house.mplstyle")

# from dark to light, at least 8 of 100 steps of lightness apart, so that grey tells them apart too
COLOURS = {
    "data": "#1a1a1a",
    "beta": "#7a1750",
    "posterior": "#1a5baa",
    "variational": "#c94f00",
    "prior": "#3fa085",
    "likelihood": "#e3aa2b",
}


def use_house_style() -> Any:
    """Figures made inside this context have the house style. Other figures keep their own.

    It is a decorator as well.

    Example:
        >>> from matplotlib.figure import Figure
        >>> with use_house_style():
        ...     figure = Figure()
        >>> print(figure.get_figwidth())
        8.0
    """
    return style.context(STYLE)


def make_colour_map(role: str) -> LinearSegmentedColormap:
    """A matplotlib colour map from white, which is 0, to the colour of a role, which is 1.

    Arguments:
        role: One of `COLOURS`: prior, likelihood, posterior, variational, data or beta.

    Raises:
        ValueError: if there is no such role.

    Example:
        >>> make_colour_map("data").name
        'data'
    """
    check_choice("role", role, COLOURS)
    return LinearSegmentedColormap.from_list(role, ["white", COLOURS[role]])
