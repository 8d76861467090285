import pyro_vae as pv
from pyro_vae.look import plots
from tests.figures import drawn


def test_history():
    run = pv.History([3.0, 2.0], [-3.0, -2.5], [-2.0, -1.5], [1.0, 1.0], [0.1, 0.1])
    figure = plots.history(run)
    drawn(figure)
    loss, elbo = figure.axes[0].lines
    assert list(loss.get_ydata()) == [-3.0, -2.0] and list(elbo.get_ydata()) == [-3.0, -2.5]


def test_a_history_of_one_epoch_can_be_drawn():
    drawn(plots.history(pv.History([3.0], [-3.0], [-2.0], [1.0], [0.1])))
