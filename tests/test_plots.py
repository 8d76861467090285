import io

import pytest
import torch
from matplotlib.figure import Figure

import pyro_vae as pv
from pyro_vae.look import plots


def drawn(figure: Figure) -> bytes:
    """The figure as it would be written, which is when matplotlib finds out what is wrong with it."""
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def test_history():
    run = pv.History([3.0, 2.0], [-3.0, -2.5], [-2.0, -1.5], [1.0, 1.0], [0.1, 0.1])
    figure = plots.history(run)
    drawn(figure)
    loss, elbo = figure.axes[0].lines
    assert list(loss.get_ydata()) == [-3.0, -2.0] and list(elbo.get_ydata()) == [-3.0, -2.5]


def test_a_history_of_one_epoch_can_be_drawn():
    drawn(plots.history(pv.History([3.0], [-3.0], [-2.0], [1.0], [0.1])))


@pytest.mark.parametrize("event", [(1, 8, 8), (3, 5, 7), (64,), ()])
def test_data_of_any_shape(event):
    x = torch.rand(13, *event)
    figure = plots.data(x, columns=5)
    drawn(figure)
    assert len(figure.axes) == 15
    drawn(plots.reconstructions(x, x))


@pytest.mark.parametrize("d", [1, 2, 7])
@pytest.mark.parametrize("labels", [None, torch.arange(30) % 3])
def test_latents(d, labels):
    figure = plots.latents(torch.randn(30, d), labels)
    drawn(figure)
    shown = len(figure.axes[0].collections) if d > 1 else len(figure.axes[0].patches)
    assert shown == (1 if labels is None else 3)


def test_the_grid_has_z0_to_the_right_and_z1_upwards():
    z = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    x = (z[:, 0] / 2 * 0.5 + z[:, 1] / 2 * 0.25)[:, None, None, None].expand(9, 1, 4, 4)
    figure = plots.decoded_grid(x, (-1.0, 1.0))
    drawn(figure)
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (12, 12)
    assert shown[-1, -1] == 0.5 and shown[0, 0] == 0.25 and shown[0, -1] == 0.75


@pytest.mark.parametrize("d", [1, 2])
def test_posterior(d):
    vae = pv.VAE(
        prior=pv.StandardNormal(d),
        likelihood=pv.Bernoulli((1, 4, 4), given=d),
        variational=pv.Normal(d, given=(1, 4, 4)),
    )
    x = torch.bernoulli(torch.full((5, 1, 4, 4), 0.5))
    grid = pv.diagnostics.grid_posterior(vae, x, size=60)
    figure = plots.posterior(grid, x, rows=range(4))
    drawn(figure)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == [f"KL(q(z|x) ‖ p(z|x)) = {gap:.2f} nats" for gap in grid.gap[:4].tolist()]


def test_posterior_by_draws():
    vae = pv.VAE(
        prior=pv.StandardNormal(5),
        likelihood=pv.Bernoulli(4, given=5),
        variational=pv.Normal(5, given=4),
    )
    x = torch.bernoulli(torch.full((4, 4), 0.5))
    found = pv.diagnostics.annealed_log_evidence(vae, x, num_steps=3, num_chains=6)
    figure = plots.posterior_draws(found, torch.randn(20, 4, 5), rows=range(3))
    drawn(figure)
    assert [len(c.get_offsets()) for c in figure.axes[0].collections] == [20, 6]
