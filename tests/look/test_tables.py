"""Figures of tables."""

import pytest

from pyro_vae.look import plots
from tests.data.test_table import make_frame
from tests.figures import drawn


def test_each_column_has_its_axes():
    figure = plots.columns(make_frame(), make_frame(seed=1))
    drawn(figure)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == list(make_frame())


def test_a_single_column():
    frame = make_frame()[["income"]]
    drawn(plots.columns(frame, frame))


def test_rows_of_another_table():
    frame = make_frame()
    with pytest.raises(ValueError, match="drawn: expected rows of the columns of the table"):
        plots.columns(frame[["city"]], frame[["income"]])
