import inspect

import pytest

from pyro_vae.look import plots

FIGURES = [name for name, value in vars(plots).items() if inspect.isfunction(value)]


def test_every_figure_is_listed_once():
    assert sorted(FIGURES) == [
        "classes",
        "columns",
        "data",
        "decoded_grid",
        "history",
        "latents",
        "posterior",
        "posterior_draws",
        "ranks",
        "reconstructions",
        "rows",
        "sequences",
        "top_words",
    ]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_takes(name):
    assert "Arguments:" in inspect.getdoc(getattr(plots, name))
