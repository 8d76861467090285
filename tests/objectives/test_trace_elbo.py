"""Pyro's `Trace_ELBO` in arithmetic that stays in tensors, against Pyro's own."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

from pyro_vae.objectives.compiled import as_exportable


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((9, 5), 0.4))


def test_a_subsampling_plate_of_the_users_keeps_its_scale(x):
    def model(x):
        with pyro.plate("data", 90, subsample_size=x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None].expand(-1, 5), 1.0).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.1))
        with pyro.plate("data", 90, subsample_size=x.shape[0]):
            pyro.sample("z", dist.Normal(loc, 0.5))

    torch.manual_seed(0)
    theirs = Trace_ELBO().loss(model, guide, x)
    torch.manual_seed(0)
    assert Trace_ELBO().loss(model, guide, x) == pytest.approx(theirs)
    torch.manual_seed(0)
    ours = as_exportable(Trace_ELBO()).differentiable_loss(model, guide, x)
    assert ours.item() == pytest.approx(theirs, rel=1e-5)
