"""The estimator: scikit-learn's own checks, numbers against the library's, and where it is used."""

from functools import partial

import numpy as np
import pytest
import torch
import zuko
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import pyro_vae as pv
from pyro_vae.sklearn import VAETransformer

SMALL = {"epochs": 2, "hidden": (16,), "num_samples": 50, "random_state": 0}


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def trained(iris):
    return VAETransformer(epochs=60, hidden=(32,), random_state=0).fit(iris[0])


def test_it_passes_the_checks_of_scikit_learn():
    checks = check_estimator(VAETransformer(**SMALL | {"num_samples": 20}), on_fail=None)
    failed = {c["check_name"]: c["exception"] for c in checks if c["status"] == "failed"}
    assert not failed
    assert sum(c["status"] == "passed" for c in checks) >= 45


def test_densities_are_those_of_the_diagnostics_on_the_scale_of_the_data(trained, iris):
    x = trained.scale(iris[0])
    expected = pv.diagnostics.log_evidence(trained.pair_, x, num_samples=5000, progress=False)
    log_volume = np.log(iris[0].std(0)).sum()
    value, stderr = trained.score_samples(iris[0], return_std=True)
    error = np.hypot(stderr, expected.stderr.numpy()) + 1e-3
    assert (np.abs(value - expected.value.numpy() + log_volume) < 6 * error).mean() > 0.97
    assert trained.score(iris[0]) == pytest.approx(value.mean())


def test_densities_do_not_depend_on_the_other_rows(trained, iris):
    value = trained.score_samples(iris[0])
    np.testing.assert_allclose(trained.score_samples(iris[0][7:9]), value[7:9], rtol=1e-9)
    one = VAETransformer(variational=pv.MultivariateNormal, **SMALL).fit(iris[0])
    value = one.score_samples(iris[0][:4])
    np.testing.assert_allclose(one.score_samples(iris[0][3:4]), value[3:], rtol=1e-9)


def test_it_learns(trained, iris):
    before = VAETransformer(**SMALL).fit(iris[0])
    assert trained.score(iris[0]) > before.score(iris[0]) + 1
    again = trained.inverse_transform(trained.transform(iris[0]))
    assert np.square(again - iris[0]).mean() < 0.5 * iris[0].var(0).mean()
    draws = trained.sample(5000, random_state=0)
    assert np.abs(draws.mean(0) - iris[0].mean(0)).max() < 0.5
    np.testing.assert_array_equal(draws[:5], trained.sample(5000, random_state=0)[:5])


def test_anomalies(trained, iris):
    share = (trained.predict(iris[0]) == -1).mean()
    assert share == pytest.approx(0.1, abs=0.01)
    assert (trained.predict(iris[0] + 30.0) == -1).all()
    assert (trained.decision_function(iris[0] + 30.0) < 0).all()


def test_a_pipeline_with_a_classifier_on_codes(iris):
    X, y = iris
    codes = VAETransformer(epochs=100, hidden=(32,), random_state=0)
    assert make_pipeline(codes, LogisticRegression()).fit(X, y).score(X, y) > 0.8


def test_a_grid_search_over_priors_by_held_out_density(iris):
    priors = [pv.StandardNormal, partial(pv.Mixture, pv.Normal, components=3)]
    search = GridSearchCV(VAETransformer(**SMALL), {"prior": priors}, cv=2).fit(iris[0])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.pair_.prior.event_shape == (2,)


@pytest.mark.parametrize(
    "parts",
    [
        {"likelihood": pv.Poisson},
        {"variational": partial(pv.Flow, flow=zuko.flows.NSF, transforms=1)},
        {"likelihood": partial(pv.Mixture, pv.Normal, components=2)},
    ],
    ids=["counts", "flow", "mixture"],
)
def test_other_parts(parts):
    X = np.random.default_rng(0).poisson(3.0, size=(40, 3)).astype(float)
    vae = VAETransformer(**SMALL | {"num_samples": 5}, **parts).fit(X)
    assert (vae.scaler_ is None) == (parts.get("likelihood") is pv.Poisson)
    assert np.isfinite(vae.transform(X)).all() and np.isfinite(vae.score_samples(X[:3])).all()
    assert np.isfinite(vae.inverse_transform(vae.transform(X))).all()


def test_further_data_keep_the_scaling(iris):
    X = iris[0]
    vae = VAETransformer(**SMALL).partial_fit(X[::2])
    first, scaling = vae.score(X), vae.scaler_.mean_.copy()
    for _ in range(5):
        vae.partial_fit(X[1::2])
    np.testing.assert_array_equal(vae.scaler_.mean_, scaling)
    assert vae.score(X) > first


def test_nothing_else_changes(iris):
    before = torch.get_rng_state()
    VAETransformer(**SMALL).fit(iris[0]).sample(3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n_components": 0}, ValueError, "n_components"),
        ({"n_components": 2.5}, TypeError, "n_components"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"contamination": 0.7}, ValueError, "contamination"),
        ({"contamination": 0.0}, ValueError, "contamination"),
        ({"num_samples": "many"}, TypeError, "num_samples"),
        ({"likelihood": pv.Beta}, ValueError, "x"),
    ],
    ids=range(7),
)
def test_wrong_arguments(options, error, words, iris):
    with pytest.raises(error, match=words):
        VAETransformer(**SMALL | options).fit(iris[0])


def test_codes_of_another_number(trained):
    with pytest.raises(ValueError, match="3 features, expected 2 codes"):
        trained.inverse_transform(np.zeros((4, 3)))
