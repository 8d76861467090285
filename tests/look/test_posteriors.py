import pytest
import torch

import pyro_vae as pv
from pyro_vae.look import plots
from tests.figures import drawn


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
