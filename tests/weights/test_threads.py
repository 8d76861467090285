"""Small work takes one thread, large work all, and what a person chose is left alone."""

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.weights import threads
from pyro_vae.weights.threads import MEASUREMENT, count_products, spared_threads, sparing_threads
from tests.runs import RUN, X, make

FEW = {"num_samples": 10}


@pytest.fixture(autouse=True)
def two(monkeypatch):
    """Two threads, which nobody chose."""
    for name in threads.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen():
    """How many threads there were each time that the decoder ran."""
    return []


@pytest.fixture
def pair(seen):
    pair = make()
    pair.likelihood.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    return pair


def test_small_work_takes_one_thread_and_puts_them_back():
    with spared_threads(9.0, 10.0):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), spared_threads(9.0, 10.0):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 2


def test_large_work_takes_all():
    with spared_threads(10.0, 10.0):
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", threads.CHOSEN)
def test_what_a_person_chose_is_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "2")
    with spared_threads(0.0, 10.0):
        assert torch.get_num_threads() == 2


def test_products_are_weights_and_kernels_at_each_place():
    linear, kernel = torch.nn.Linear(3, 5), torch.nn.Conv2d(2, 4, 3)
    assert count_products(linear, 0) == 15
    assert count_products(kernel, 100) == 100 * (4 * 2 * 9 + threads.DENSITY)


@pytest.mark.parametrize(
    "measure",
    [
        lambda pair, x: pv.diagnostics.elbo(pair, x, **FEW),
        lambda pair, x: pv.diagnostics.log_evidence(pair, x, **FEW),
        lambda pair, x: pv.diagnostics.log_weights(pair, x, **FEW),
        lambda pair, x: pv.diagnostics.posterior_gap(pair, x, **FEW),
        lambda pair, x: pv.diagnostics.prior_evidence(pair, x, **FEW),
        lambda pair, x: pv.diagnostics.inference_gaps(pair, x, num_steps=2, **FEW),
        lambda pair, x: pv.diagnostics.annealed_log_evidence(pair, x, num_steps=2),
        lambda pair, x: pv.diagnostics.bracket(pair, len(x), num_steps=2),
        lambda pair, x: pv.diagnostics.calibrate(pair, 100, num_draws=9),
        lambda pair, x: pv.diagnostics.picture(pair, x, **FEW),
        lambda pair, x: pv.fit(pair, x, **RUN),
    ],
    ids=[
        "elbo",
        "log_evidence",
        "log_weights",
        "posterior_gap",
        "prior_evidence",
        "inference_gaps",
        "annealed_log_evidence",
        "bracket",
        "calibrate",
        "picture",
        "fit",
    ],
)
@pytest.mark.parametrize("most", [1, 2], ids=["small", "large"])
def test_measurements_and_fit(measure, most, pair, seen, monkeypatch):
    if most == 2:
        monkeypatch.setattr(threads, "MEASUREMENT", 0.0)
        monkeypatch.setattr("pyro_vae.training.fit.STEP", 0.0)
    measure(pair, X[:20])
    assert torch.get_num_threads() == 2
    # what looks at the data first may take as many as it likes
    assert seen[-1] == most


@pytest.mark.parametrize(
    ("x", "numbers"),
    [(torch.ones(4, 3), 3), (np.ones((4, 3)), 3), (4, 1)],
    ids=["tensor", "array", "simulated"],
)
def test_work_is_rows_times_passes_times_products(x, numbers, monkeypatch):
    taken = []
    monkeypatch.setattr(
        threads, "spared_threads", lambda *given: taken.append(given) or spared_threads(*given)
    )

    @sparing_threads("num_samples", "num_steps")
    def measure(pair, *data, num_samples=5, num_steps):
        return "measured"

    linear = torch.nn.Linear(3, 5)
    assert measure(linear, x, num_steps=2) == "measured"
    assert taken == [(4 * 5 * 2 * (15 + threads.DENSITY * numbers), MEASUREMENT)]


@pytest.mark.parametrize(
    ("given", "options"),
    [((), {}), ((3, X), {}), ((X,), {}), ((torch.nn.Linear(3, 5), "x"), {"num_samples": "many"})],
    ids=["nothing", "no pair", "no data", "words"],
)
def test_what_is_refused_is_refused_by_the_measurement(given, options):
    with pytest.raises(TypeError, match=r"pair|num_samples|x: expected"):
        pv.diagnostics.log_evidence(*given, **options)
    assert torch.get_num_threads() == 2
