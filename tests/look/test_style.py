import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from pyro_vae.look import plots
from pyro_vae.look.style import COLOURS, make_colour_map, use_house_style

# how two kinds of colour-blind people see linear RGB, of Machado, Oliveira and Fernandes (2009)
SEEN = {
    "no red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def find_lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """CIE L*a*b*, in which distance is how different colours look. L* is what is left in grey."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ (seen @ linear).clip(0, 1) / TO_XYZ.sum(1)
    x, y, z = np.cbrt(xyz)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_roles_are_told_apart_in_grey():
    lightness = {role: find_lab(colour, np.eye(3))[0] for role, colour in COLOURS.items()}
    for one, other in itertools.combinations(lightness, 2):
        assert abs(lightness[one] - lightness[other]) > 8, (one, other)
    assert max(lightness.values()) < 75  # a line on white is seen


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN.keys())
def test_roles_are_told_apart_by_the_colour_blind(seen):
    colours = {role: find_lab(colour, seen) for role, colour in COLOURS.items()}
    for one, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(colours[one] - colours[other]) > 20, (one, other)


def test_the_style_holds_inside_the_context_only():
    before = dict(matplotlib.rcParams)
    with use_house_style():
        assert matplotlib.rcParams["figure.figsize"] == [8.0, 4.0]
    assert dict(matplotlib.rcParams) == before


def test_a_figure_of_the_library_has_the_style_and_leaves_the_settings_alone():
    before = dict(matplotlib.rcParams)
    figure = plots.latents(np.zeros((3, 2)))
    assert not figure.axes[0].spines["top"].get_visible()
    assert dict(matplotlib.rcParams) == before
    assert Figure().get_dpi() == before["figure.dpi"]


def test_a_colour_map_runs_from_white_to_the_role():
    colours = make_colour_map("prior")
    assert colours(0.0) == (1, 1, 1, 1)
    assert colours(1.0)[:3] == pytest.approx(to_rgb(COLOURS["prior"]))


def test_an_unknown_role_is_named():
    with pytest.raises(ValueError, match=r"role: expected 'data'.*'likelihood'.*got 'evidence'"):
        make_colour_map("evidence")
