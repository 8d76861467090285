"""The plate over the data is known by its place and size, and not by its name."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import elbo, log_weights

X = torch.linspace(-2.0, 2.0, 6)


def plate(name):
    return lambda x: pyro.plate(name, x.shape[0])


def without_size(x):
    return pyro.plate("data")


def make_pair(in_model, in_guide, *, is_observed=False):
    """x ~ N(z, 0.5²) with plates of the given make, and a guide that may observe a site."""

    def model(x):
        with in_model(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with in_guide(x):
            if is_observed:
                pyro.sample("seen", dist.Normal(torch.zeros_like(x), 0.3), obs=x)
            pyro.sample("z", dist.Normal(0.7 * x, 0.6))

    return pv.Pair(model, guide)


def measure(pair, num_samples=5):
    """What draws of q(z | x) give, each from the same seed."""
    found = {}
    for name, fn in {
        "log_weights": lambda: log_weights(pair, X, num_samples=num_samples),
        "elbo": lambda: elbo(pair, X, num_samples=num_samples).value,
        "reconstruction": lambda: elbo(pair, X, num_samples=num_samples).reconstruction.value,
        "kl": lambda: elbo(pair, X, num_samples=num_samples).kl.value,
        "importance": lambda: pv.Objective(pair, pv.ImportanceWeighted(num_samples))(X),
        "bound": lambda: pv.Objective(pair, pv.EvidenceLowerBound())(X),
        "analytic": lambda: pv.Objective(pair, pv.AnalyticKL(num_samples))(X),
    }.items():
        torch.manual_seed(1)
        found[name] = fn()
    return found


@pytest.mark.parametrize(
    ("in_model", "in_guide"),
    [
        (plate("documents"), plate("documents")),
        (plate("documents"), plate("rows")),
        (without_size, without_size),
        (without_size, plate("data")),
        (plate("data"), without_size),
    ],
    ids=["another name", "two names", "no size", "no size in the model", "no size in the guide"],
)
def test_a_plate_of_any_name_or_without_size_is_the_plate_over_the_data(in_model, in_guide):
    ours = measure(make_pair(in_model, in_guide))
    theirs = measure(make_pair(plate("data"), plate("data")))
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_site_that_the_guide_observes_does_not_count():
    ours = measure(make_pair(plate("data"), plate("data"), is_observed=True))
    theirs = measure(make_pair(plate("data"), plate("data")))
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_numpys_integers_are_numbers_of_samples():
    pair = make_pair(plate("data"), plate("data"))
    ours, theirs = measure(pair, np.int64(4)), measure(pair, 4)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def make_topics():
    """Three topics that all data share, drawn in a plate of their own at the same dimension."""

    def topics():
        with pyro.plate("topics", 3):
            return pyro.sample("topic", dist.Normal(0.0, 1.0))

    def model(x):
        shared = topics()
        with pyro.plate("documents", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + shared.sum(-1, keepdim=True), 0.5), obs=x)

    def guide(x):
        topics()
        with pyro.plate("documents", x.shape[0]):
            pyro.sample("z", dist.Normal(0.7 * x, 0.6))

    return pv.Pair(model, guide)


BOTH = r"'topic' of the model lies in the plate 'topics' of size 3.*'documents' of size"


@pytest.mark.parametrize(
    "use",
    [
        lambda pair: log_weights(pair, X, num_samples=2),
        lambda pair: elbo(pair, X, num_samples=2),
        lambda pair: pv.Objective(pair, pv.EvidenceLowerBound())(X),
        lambda pair: pv.Objective(pair, pv.ImportanceWeighted(5))(X),
    ],
    ids=["log_weights", "elbo", "bound", "importance"],
)
def test_a_plate_over_something_else_is_refused_with_both_names(use):
    with pytest.raises(ValueError, match=BOTH):
        use(make_topics())


def test_check_names_both_plates():
    problems = pv.check(make_topics(), X).problems
    assert any("'topics' of size 3" in p and "'documents' of size 6" in p for p in problems)
