"""Why a pair has no weight per datum: each obstacle in words, with its cure."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae.weights.obstacles import find_data_plate, find_obstacles, refuse_obstacles
from pyro_vae.weights.traces import latent_values, sample_sites, trace

X = torch.zeros(5)


def plate(x, name="data", **options):
    return pyro.plate(name, x.shape[0], **options)


def normal(name, loc=0.0, obs=None):
    return pyro.sample(name, dist.Normal(loc, 1.0), obs=obs)


def model(x):
    with plate(x):
        normal("x", normal("z"), obs=x)


def guide(x):
    with plate(x):
        normal("z")


def model_of_two(x):
    with plate(x):
        normal("x", normal("z") + normal("w"), obs=x)


def guide_of_two(x):
    with plate(x):
        normal("z")
        normal("extra")


def global_model(x):
    mean = normal("mean")
    with plate(x):
        normal("x", normal("z", mean), obs=x)


def global_guide(x):
    normal("mean")
    guide(x)


def model_of_topics(x):
    with pyro.plate("topics", 3):
        topics = normal("topic")
    with plate(x):
        normal("x", normal("z") + topics.sum(-1, keepdim=True), obs=x)


def guide_of_topics(x):
    with pyro.plate("topics", 3):
        normal("topic")
    guide(x)


def subsampling_model(x):
    with plate(x, subsample_size=2) as i:
        normal("x", normal("z"), obs=x[i])


def subsampling_guide(x):
    with plate(x, subsample_size=2):
        normal("z")


def run(model, guide):
    guide_trace = trace(guide, (X,))
    return trace(model, (X,), latents=latent_values(guide_trace)), guide_trace


def test_a_good_pair_has_none():
    assert find_obstacles(*run(model, guide)) == []
    refuse_obstacles(*run(model, guide))


OUTSIDE = (
    "site 'mean' of the {side} is outside the plate over the data; sample it within "
    "pyro.plate('data', x.shape[0]), as the innermost plate; or, if all data share it, leave it "
    "out of the guide and fix it in the model with "
    "pyro.poutine.block(pyro.poutine.condition(model, {{'mean': value}}), hide=['mean'])"
)
OTHER = (
    "site 'topic' of the {side} lies in the plate 'topics' of size 3, and not in the plate over "
    "the data, 'data' of size 5; declare the dimension of the former with .to_event(1), within the "
    "latter; or, if all data share it, leave it out of the guide and fix it in the model with "
    "pyro.poutine.block(pyro.poutine.condition(model, {{'topic': value}}), hide=['topic'])"
)
SUBSAMPLES = "the plate 'data' of the {side} subsamples; pass the subset of x as the data instead"


@pytest.mark.parametrize(
    ("model", "guide", "expected"),
    [
        (
            model_of_two,
            guide,
            ["the guide lacks the latent 'w' of the model; sample it in the guide as well"],
        ),
        (
            model,
            guide_of_two,
            ["the model lacks the latent 'extra' of the guide; sample it in the model, or drop it"],
        ),
        (global_model, global_guide, [OUTSIDE.format(side=s) for s in ("model", "guide")]),
        (model_of_topics, guide_of_topics, [OTHER.format(side=s) for s in ("model", "guide")]),
        (
            subsampling_model,
            subsampling_guide,
            [SUBSAMPLES.format(side=s) for s in ("model", "guide")],
        ),
    ],
    ids=["lacking in the guide", "lacking in the model", "outside", "other plate", "subsampling"],
)
def test_each_is_named_with_its_cure(model, guide, expected):
    assert find_obstacles(*run(model, guide)) == expected


def test_a_model_that_observes_nothing():
    (said,) = find_obstacles(*run(guide, guide))
    assert said == "the model observes nothing; give it the data, pyro.sample('x', ..., obs=x)"


def test_all_are_said_at_once():
    with pytest.raises(ValueError, match=r"no weight per datum: .*'w' .*; .*'extra'"):
        refuse_obstacles(*run(model_of_two, guide_of_two))


@pytest.mark.parametrize(
    ("make", "name", "size"),
    [
        (plate, "data", 5),
        (lambda x: plate(x, "documents"), "documents", 5),
        (lambda x: pyro.plate("data"), "data", -1),
    ],
    ids=["data", "another name", "no size"],
)
def test_the_plate_over_the_data_is_the_innermost_whatever_its_name(make, name, size):
    def model(x):
        with make(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            normal("x", z, obs=x)

    found = find_data_plate(sample_sites(trace(model, (X,), draws=4)))
    assert (found.name, found.size) == (name, size)
    assert find_data_plate(sample_sites(trace(guide, (X,)))) is None
