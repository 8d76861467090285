import pytest
import torch

from pyro_vae.look import plots
from tests.figures import drawn


@pytest.mark.parametrize("event", [(1, 8, 8), (3, 5, 7), (64,), ()])
def test_data_of_any_shape(event):
    x = torch.rand(13, *event)
    figure = plots.data(x, columns=5)
    drawn(figure)
    assert len(figure.axes) == 3
    drawn(plots.reconstructions(x, x))


def test_a_name_need_be_no_formula():
    figure = plots.rows({"$z_{$": torch.rand(3, 1, 4, 4)})
    drawn(figure)
    assert figure.axes[0].texts[0].get_text() == "$z_{$"


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.data(torch.zeros(0, 3)), "x: expected data to draw, got none"),
        (lambda: plots.data(torch.zeros(3, 3), columns=0), "columns: expected a positive"),
        (lambda: plots.latents(torch.zeros(3, 0)), r"z: expected latents .* got shape \(3, 0\)"),
        (lambda: plots.latents(torch.zeros(3, 2), torch.zeros(2)), "labels: expected one for each"),
    ],
)
def test_nothing_to_draw(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


def test_each_class_has_a_row_that_bears_its_number():
    x, labels = torch.rand(9, 1, 4, 4), torch.tensor([2, 0, 2, 2, 0, 5, 2, 0, 2])
    figure = plots.classes(x, labels, columns=4)
    drawn(figure)
    assert [ax.texts[0].get_text() for ax in figure.axes] == ["0", "2", "5"]
    assert sum(len(ax.images) for ax in figure.axes) == 3 + 4 + 1
    first = figure.axes[1].images[0].get_array()
    assert (first == x[0, 0].numpy()).all()


@pytest.mark.parametrize("n", [0, 3])
def test_each_of_the_data_has_a_class(n):
    with pytest.raises(ValueError, match="labels: expected one for each of the data"):
        plots.classes(torch.rand(n, 1, 4, 4), torch.zeros(2 if n else 0).long())


def test_the_grid_has_z0_to_the_right_and_z1_upwards():
    z = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    x = (z[:, 0] / 2 * 0.5 + z[:, 1] / 2 * 0.25)[:, None, None, None].expand(9, 1, 4, 4)
    figure = plots.decoded_grid(x, (-1.0, 1.0))
    drawn(figure)
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (12, 12)
    assert shown[-1, -1] == 0.5 and shown[0, 0] == 0.25 and shown[0, -1] == 0.75


def test_an_image_is_grey_with_ink_1_and_a_line_has_no_frame():
    image = plots.data(torch.rand(1, 1, 4, 4)).axes[0]
    assert image.images[0].get_cmap().name == "gray_r" and image.images[0].get_clim() == (0, 1)

    line = plots.data(torch.rand(1, 6)).axes[0]
    assert len(line.lines) == 1 and not line.axison


def test_rows_have_names_and_lengths_of_their_own():
    x = torch.rand(5, 1, 4, 4)
    figure = plots.rows({"z2": x[:2], "none": x[:0], "z1": x})
    drawn(figure)
    assert [ax.texts[0].get_text() for ax in figure.axes] == ["z2", "none", "z1"]
    assert [len(ax.images) for ax in figure.axes] == [2, 0, 5]
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
