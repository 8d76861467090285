import dataclasses

import pytest
import torch

from pyro_vae.diagnostics import Calibration
from pyro_vae.look import plots
from tests.figures import drawn


@pytest.fixture
def found():
    """Two dimensions. The ranks of the second pile up at the low end."""
    fine = torch.arange(500) % 100
    biased = (torch.linspace(0, 0.999, 500) ** 3 * 100).long()
    return Calibration(
        ranks=torch.stack([fine, biased], 1),
        pvalue=torch.tensor([0.7, 1e-12]),
        slope=torch.tensor([0.1, -30.0]),
        curve=torch.tensor([0.2, 0.5]),
        names=["z[0]", "z[1]"],
        num_draws=99,
        level=0.01,
    )


def test_each_dimension_has_its_verdict_without_what_it_means(found):
    figure = plots.ranks(found)
    drawn(figure)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]

    assert titles[0] == "z[0]: no fault found\np = 0.7"
    assert titles[1].startswith("z[1]: biased") and "too high" not in titles[1]


def test_a_latent_whose_name_is_no_formula(found):
    drawn(plots.ranks(dataclasses.replace(found, names=["$z_{$", "z"])))


def test_bars_are_the_histogram_of_the_ranks(found):
    figure = plots.ranks(found)
    counts, _ = found.histogram()
    bars = figure.axes[0].patches[0].get_data()
    assert bars.values.tolist() == counts[:, 0].tolist() and bars.edges[0] == -0.5


def test_of_many_dimensions_those_that_are_least_calibrated_are_drawn(found):
    figure = plots.ranks(found, most=1)
    drawn(figure)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]

    assert [title.split(":")[0] for title in titles] == ["z[1]"]
    assert "1 of 2 histograms, of the least p-values" in figure.get_supxlabel()
