import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae as pv
from tests.runs import X, weights
from tests.together import run_together

NOISE = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))


class Given(nn.Module):
    """A pair whose noise is data: z = m(x) + s(x) noise, so that no process draws anything."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(3, 4), nn.Linear(2, 3)

    def model(self, x, noise):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x, noise):
        loc, raw = self.encoder(x).chunk(2, -1)
        z = loc + raw.exp() * noise
        log_q = dist.Normal(loc, raw.exp()).to_event(1).log_prob(z)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Delta(z, log_q, event_dim=1))


def train_given(rows, **options):
    pair = Given()
    settings = {"epochs": 3, "batch_size": 12, "learning_rate": 1e-2, "seed": 3}
    history = pv.fit(pair, X[:rows], NOISE[:rows], **settings, **options)
    return {"weights": weights(pair), "history": history}


def train_in_turn():
    """Runs of which each process takes its share of the rows, one run after the other."""
    return {rows: train_given(rows) for rows in (50, 49, 37)}


def assert_close(a, b):
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6)


def test_two_processes_end_where_one_ends():
    # the last batch has 2 rows, or 1: one process then has none
    first, second = run_together(train_in_turn)
    for rows, found in first.items():
        alone = train_given(rows)
        assert_close(found["weights"], alone["weights"])
        assert all(torch.equal(w, second[rows]["weights"][n]) for n, w in found["weights"].items())
        assert found["history"].loss == pytest.approx(alone["history"].loss, rel=1e-5)
        assert found["history"].elbo == pytest.approx(alone["history"].elbo, rel=1e-5)
