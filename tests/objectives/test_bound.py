"""What every bound shares: its arguments, how it routes gradients, and stock SVI."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import Adam
from torch import nn

import pyro_vae as pv
from tests.objectives.worlds import DOUBLY, LANDING, SCORE, dropping, loss_of, small
from tests.oracles import two_in_a_chain, within


@pytest.mark.parametrize(
    "bound",
    [
        partial(pv.ImportanceWeighted, 5, DOUBLY),
        partial(pv.PIWAE, 2, 3),
        partial(pv.ReweightedWakeSleep, 5),
    ],
    ids=repr,
)
def test_dropout_is_refused_where_the_model_is_run_twice(bound):
    pair, x = small(net=dropping), torch.rand(7, 5).round()
    with pytest.raises(
        ValueError, match=r"the model twice at the same draws, .*random beyond its latents"
    ):
        loss_of(bound(), pair, x)
    pair.eval()
    loss_of(bound(), pair, x)


def test_dropout_is_refused_where_the_guide_is_run_twice():
    net = nn.Dropout(0.5)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(net(1 + x), 1.0))
            pyro.sample("b", dist.Normal(a, 1.0))

    with pytest.raises(ValueError, match=r"the guide twice at the same draws"):
        pv.EvidenceLowerBound(1, LANDING).loss_and_grads(two_in_a_chain, guide, torch.ones(50))


def test_sticking_the_landing_takes_dropout_where_a_latent_depends_on_no_other():
    """The expectation of its gradient is that of the plain one, the masks averaged over as well."""
    pair, x = small(net=dropping), torch.rand(7, 5).round()
    found = []
    for gradient in ("reparametrised", LANDING):
        draws = []
        for _ in range(1_000):
            pair.zero_grad()
            loss_of(pv.EvidenceLowerBound(4, gradient), pair, x).backward()
            draws.append(
                torch.cat([p.grad.flatten() for p in pair.parameters() if p.grad is not None])
            )
        draws = torch.stack(draws)
        found.append((draws.mean(0), draws.var(0) / len(draws)))
    (a, va), (b, vb) = found
    assert within(a, b, (va + vb).sqrt() + 1e-6)


@pytest.mark.parametrize("gradient", ["reparametrised", DOUBLY])
def test_hand_written_functions_under_svi(gradient):
    encoder = nn.Linear(1, 1)

    def model(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(encoder(x.unsqueeze(-1)).squeeze(-1), scale))

    x = 3 + 1.25**0.5 * torch.randn(500)
    svi = SVI(model, guide, Adam({"lr": 0.05}), loss=pv.ImportanceWeighted(3, gradient))
    for _ in range(200):
        svi.step(x)
    # the posterior of N(loc, 1), N(z, 1/4): mean (loc + 4 x) / 5, variance 1/5
    assert pyro.param("loc").item() == pytest.approx(x.mean().item(), abs=0.15)
    assert pyro.param("scale").item() == pytest.approx(0.2**0.5, rel=0.1)
    assert encoder.weight.item() == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: pv.ImportanceWeighted(0),
            ValueError,
            "num_samples: expected a positive whole number, got 0",
        ),
        (
            lambda: pv.ImportanceWeighted(2.5),
            TypeError,
            "num_samples: expected a positive whole number, got 2.5",
        ),
        (
            lambda: pv.ImportanceWeighted(2, "pathwise"),
            ValueError,
            "gradient: ImportanceWeighted admits.*'pathwise'",
        ),
        (
            lambda: pv.AnalyticKL(1, LANDING),
            ValueError,
            "gradient: AnalyticKL admits.*'sticking_the_landing'",
        ),
        (lambda: pv.PIWAE(2, 2, SCORE), ValueError, "gradient: PIWAE admits"),
        (
            lambda: pv.VIMCO(1),
            ValueError,
            "num_samples: leaving one draw out takes at least 2, got 1",
        ),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()
