"""Weights on the likelihoods of modalities, against the terms on the same draws."""

from functools import partial

import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.weights.traces import latent_values, observed_sites, quietly, trace
from tests.objectives.test_subsets import data, make

ELBOS = {
    "trace": None,
    "pyro": TraceMeanField_ELBO(),
    "ours": pv.EvidenceLowerBound(),
    "landing": pv.EvidenceLowerBound(1, "sticking_the_landing"),
    "analytic": pv.AnalyticKL(),
}


@pytest.mark.parametrize("name", ["image", "label"])
@pytest.mark.parametrize("elbo", ELBOS.values(), ids=ELBOS)
def test_the_weight_adds_to_the_likelihood_alone(name, elbo):
    """The first modality is special to bounds, which take their scale from it."""
    pair, x, weight = make(), data(), 7.0
    objective = pv.Objective(pair, elbo)
    torch.manual_seed(2)
    plain = objective(*x)
    torch.manual_seed(2)
    weighted = pv.LikelihoodWeights(objective, {name: weight})(*x)

    torch.manual_seed(2)
    with quietly(pair):
        z = latent_values(trace(pair.guide, x))
        site = observed_sites(trace(pair.model, x, latents=z))[name]
        log_p = torch.where(site["mask"], site["fn"].log_prob(site["value"]), 0.0).mean()
    assert log_p < -0.1
    torch.testing.assert_close(weighted, plain - (weight - 1) * log_p)


def test_it_holds_for_each_subset():
    pair, x = make(), data()
    subsets = pv.Subsets(pv.Objective(pair))
    losses = []
    for weight in (1.0, 2.0, 3.0):
        torch.manual_seed(2)
        losses.append(pv.LikelihoodWeights(subsets, {"label": weight})(*x))
    assert losses[0] < losses[1] < losses[2]
    torch.testing.assert_close(losses[2] - losses[1], losses[1] - losses[0])


def test_it_is_no_bound():
    assert not pv.LikelihoodWeights(pv.Objective(make()), {"label": 2.0}).is_lower_bound


def test_compiled_it_equals_eager_for_every_batch_size():
    """The weights are a handler that is active while compiled code runs."""
    pair = make()
    inner = pv.Objective(pair)
    objective = pv.LikelihoodWeights(pv.Subsets(inner), {"label": 9.0})
    exported = CompiledLoss(inner.forward, [inner], backend="eager")
    for rows in (20, 7):
        x = tuple(values[:rows] for values in data())
        found = []
        for implementation in (None, exported):
            inner._compiled_call_impl = implementation
            torch.manual_seed(2)
            loss = objective(*x)
            found.append([loss, *torch.autograd.grad(loss, list(pair.parameters()))])
        for eager, compiled in zip(*found, strict=True):
            torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)
    assert len(exported._compiled) == 1


def bad(elbo):
    return partial(lambda: pv.Objective(make(), elbo))


@pytest.mark.parametrize(
    ("objective", "weights", "error", "words"),
    [
        (make, {}, TypeError, "objective: expected one that holds a pv.Objective"),
        (bad(None), {"sound": 2.0}, ValueError, "weights: expected 'image', 'text' or 'label'"),
        (bad(None), {"label": -1.0}, ValueError, r"weights\['label'\]: .* at least 0"),
        (bad(None), {"label": "1"}, TypeError, "weights"),
        (bad(pv.ImportanceWeighted(2)), {"label": 2.0}, ValueError, "got ImportanceWeighted"),
        (bad(pv.FreeBits(0.1)), {"label": 2.0}, ValueError, "got FreeBits"),
    ],
)
def test_bad_arguments(objective, weights, error, words):
    with pytest.raises(error, match=words):
        pv.LikelihoodWeights(objective(), weights)


def test_pyros_elbo_is_taken():
    pv.LikelihoodWeights(pv.Objective(make(), Trace_ELBO()), {"label": 2.0})(*data())
