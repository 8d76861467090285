import base64
import json
import re

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.look.explore import LARGEST, explore
from tests.pages import opened, read_number, wait_frames

EVENT = (1, 8, 8)


@pytest.fixture(scope="module")
def data():
    digits = pv.data.load("digits")
    x, images = pv.data.binarise(digits.train[:300]), pv.data.binarise(digits.test[:12])
    return x, images, digits.labels[0][:300]


def make(variational=pv.Normal, latent=2, likelihood=pv.Bernoulli, event=EVENT, **options):
    torch.manual_seed(0)
    return pv.VAE(
        prior=pv.StandardNormal(latent),
        likelihood=likelihood(event, given=latent),
        variational=variational(latent, given=event, **options),
    )


@pytest.fixture(scope="module")
def pairs(data):
    """One that learned a little, and one that learned nothing."""
    trained = make()
    pv.fit(trained, data[0], epochs=30, batch_size=50, seed=0, progress=False)
    return {"trained": trained, "full": make(pv.MultivariateNormal)}


@pytest.fixture(scope="module")
def page(data, pairs):
    torch.manual_seed(0)
    x, images, labels = data
    return explore(pairs, x, images, labels=labels, title="<a> & b")


@pytest.fixture(scope="module")
def file(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("explore") / "explore.html"
    path.write_text(page, encoding="utf-8")
    return path


def read(page):
    return json.loads(re.search(r'id="payload">(.*?)</script>', page, re.DOTALL)[1])


def unpack(packed):
    whole = np.frombuffer(base64.b64decode(packed["data"]), packed["kind"])
    return torch.from_numpy(packed["low"] + packed["step"] * whole.astype(np.float64))


def test_the_page_loads_nothing_and_is_small(page):
    assert "&lt;a&gt; &amp; b" in page and "http" not in page.replace("http-equiv", "")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"(?!data:)", page)
    assert len(page.encode()) < LARGEST


def test_log_evidence_of_the_payload_is_that_of_the_grid(page, pairs, data):
    _, images, _ = data
    packed = read(page)["pairs"][0]
    assert packed["is_fine"]

    log_prior = unpack(packed["log_prior"])
    cell = 2 * np.log((packed["high"] - packed["low"]) / (packed["size"] - 1))
    exact = pv.diagnostics.grid_posterior(pairs["trained"], images[:10], size=300).log_evidence
    for each, expected in zip(packed["log_likelihood"], exact, strict=True):
        log_evidence = (unpack(each) + log_prior).logsumexp(0) + cell
        assert (log_evidence - expected).abs() < 0.005


def test_the_numbers_of_the_page_are_those_of_diagnostics(file, pairs, data):
    _, images, _ = data
    exact = pv.diagnostics.grid_posterior(pairs["trained"], images[:1], size=300)
    with opened(file) as browser:
        wait_frames(browser)
        assert abs(read_number(browser, "log-evidence") - exact.log_evidence.item()) < 0.01
        _drag_z(browser)
        assert browser.get_log("browser") == []


def _drag_z(browser):
    from selenium.webdriver import ActionChains, Keys

    plane = browser.find_element("id", "posterior")
    before = read_number(browser, "log-posterior")
    ActionChains(browser).drag_and_drop_by_offset(plane, 60, -40).perform()
    wait_frames(browser)
    at = [read_number(browser, f"z{d}-shown") for d in (0, 1)]
    assert at[0] > 1 and at[1] > 0.5
    assert read_number(browser, "log-posterior") != before

    plane.send_keys(Keys.ARROW_LEFT)
    wait_frames(browser)
    assert read_number(browser, "z0-shown") < at[0] and read_number(browser, "z1-shown") == at[1]
