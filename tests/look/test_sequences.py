import pytest
import torch

from pyro_vae.look import plots
from tests.figures import drawn


def test_a_row_of_rolls_for_each_name():
    rows = {"data": torch.rand(3, 7, 5), "simulated": torch.rand(3, 9, 5)}
    figure = plots.sequences(rows, given=4, title="walks")
    drawn(figure)
    assert len(figure.axes) == 6
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["data", "simulated"]
    assert figure.axes[0].lines[0].get_xdata()[0] == 4.5


def test_steps_run_to_the_right_and_keys_upwards():
    x = torch.zeros(1, 3, 88)
    x[0, 0, 40] = x[0, 2, 43] = 1
    figure = plots.sequences({"data": x}, torch.tensor([2]))
    drawn(figure)
    image = figure.axes[0].images[0]
    assert image.get_array().shape == (4, 2) and image.get_extent() == [0.5, 2.5, 39.5, 43.5]
    assert image.get_array()[0, 0] == 1 and image.get_array().sum() == 1
    assert image.origin == "lower"


@pytest.mark.parametrize(
    "x", [torch.zeros(2, 3, 4), -3 * torch.ones(2, 3), torch.zeros(1, 1, 2, 2)]
)
def test_sequences_of_any_event(x):
    drawn(plots.sequences({"x": x}))


def test_names_with_other_numbers_of_sequences():
    rows = {"data": torch.rand(3, 7, 5), "simulated": torch.rand(2, 7, 5)}
    with pytest.raises(ValueError, match=r"as many sequences for each name, got \[2"):
        plots.sequences(rows)
