"""Guide and model run at k draws: weights, scales, and what is refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO

import pyro_vae as pv
from pyro_vae.objectives.run import Run
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.traces import unvalidated
from tests.objectives.worlds import DOUBLY, WORLD, agrees, estimates, same_mean, small, subsampled


def test_weights_are_unbiased_for_the_evidence():
    pair, x = WORLD.pair(shift=0.1, stretch=1.2), WORLD.sample(5)
    with OwnParameters():
        run = Run(pair.model, pair.guide, (x,), {}, 20_000)
    ratio = (run.weights.log_weight - WORLD.log_evidence(x)).exp().detach()
    assert ratio.std(0).max() > 0.1
    assert agrees(ratio, torch.ones(5))


@pytest.mark.parametrize("gradient", ["reparametrised", DOUBLY])
def test_subsampled_plate_scales_the_bound_not_the_weights(gradient):
    x = WORLD.sample(20)
    bound = pv.ImportanceWeighted(5, gradient)
    full, part = (estimates(bound, subsampled(size, 1.5), x, 300) for size in (20, 2))
    renyi = RenyiELBO(alpha=0.0, num_particles=5, vectorize_particles=True, max_plate_nesting=1)
    pair = subsampled(2, 1.5)
    theirs = torch.tensor(
        [renyi.loss(pair.model, pair.guide, x) for _ in range(300)], dtype=torch.float64
    )

    assert same_mean(full[0], part[0])
    assert same_mean(full[1], part[1])
    assert not same_mean(full[0], theirs)
    assert -full[0].mean() < WORLD.log_evidence(x).sum()


def outside(x):
    pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("data", x.shape[0]):
        pyro.sample("x", dist.Normal(torch.zeros(5), 1.0).to_event(1), obs=x)


def unobserved(x):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal(0.0, 1.0))


ROWS = torch.ones(4, 5)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: pv.EvidenceLowerBound().loss(
                outside, lambda x: pyro.sample("z", dist.Normal(0.0, 1.0)), ROWS
            ),
            ValueError,
            "site 'z' of the model is outside the plate over the data",
        ),
        (
            lambda: pv.EvidenceLowerBound().loss(unobserved, unobserved, ROWS),
            ValueError,
            "observes nothing.*pass obs=x",
        ),
        (
            lambda: pv.EvidenceLowerBound().loss(small().model, lambda x: None, ROWS),
            ValueError,
            "lacks the latent 'z'",
        ),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_undeclared_event_dimension_is_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample(
                "x", dist.Normal(0.0 * z, 1.0).expand([7, x.shape[0]]), obs=x.T.expand(7, -1)
            )

    with (
        unvalidated(),
        pytest.raises(ValueError, match=r"site 'x' has log-probabilities of shape.*to_event"),
    ):
        pv.EvidenceLowerBound().loss(model, unobserved, torch.ones(4, 1))
