import pytest
import torch

from pyro_vae.look import plots
from tests.figures import drawn


@pytest.mark.parametrize("d", [1, 2, 7])
@pytest.mark.parametrize("labels", [None, torch.arange(30) % 3])
def test_latents(d, labels):
    figure = plots.latents(torch.randn(30, d), labels)
    drawn(figure)
    shown = len(figure.axes[0].collections) if d > 1 else len(figure.axes[0].patches)
    assert shown == (1 if labels is None else 3)


@pytest.mark.parametrize("d, names", [(1, ["z[0]", "data"]), (2, ["z[0]", "z[1]"])])
def test_axes_are_the_dimensions_where_there_are_at_most_two(d, names):
    ax = plots.latents(torch.randn(30, d)).axes[0]
    assert [ax.get_xlabel(), ax.get_ylabel()] == names


def test_of_many_dimensions_the_two_that_vary_most_are_shown():
    z = torch.randn(200, 5) * torch.tensor([0.1, 5.0, 0.1, 3.0, 0.1])
    ax = plots.latents(z).axes[0]
    shown = torch.tensor(ax.collections[0].get_offsets())

    assert torch.allclose(shown.std(0), torch.tensor([5.0, 3.0]).double(), rtol=0.2)
    assert ax.get_xlabel().startswith("principal component 1 (7")
