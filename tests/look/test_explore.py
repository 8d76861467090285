import re

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.look.explore import LARGEST, explore
from tests.pages import (
    bring,
    choose,
    drag,
    find_box,
    opened,
    press,
    read_number,
    read_payload,
    resize,
    slide,
    touch,
    unpack,
    wait,
)

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


def test_the_page_loads_nothing_and_is_small(page):
    assert "&lt;a&gt; &amp; b" in page and "http" not in page.replace("http-equiv", "")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"(?!data:)", page)
    assert len(page.encode()) < LARGEST


def test_log_evidence_of_the_payload_is_that_of_the_grid(page, pairs, data):
    _, images, _ = data
    packed = read_payload(page)["pairs"][0]
    assert packed["is_fine"]

    log_prior = unpack(packed["log_prior"])
    cell = 2 * np.log((packed["high"] - packed["low"]) / (packed["size"] - 1))
    exact = pv.diagnostics.grid_posterior(pairs["trained"], images[:10], size=300).log_evidence
    for each, expected in zip(packed["log_likelihood"], exact, strict=True):
        log_evidence = (unpack(each) + log_prior).logsumexp(0) + cell
        assert (log_evidence - expected).abs() < 0.005


@pytest.fixture(scope="module")
def browser(file):
    """The page, for one test after the other. Nothing was said on its console by any of them."""
    with opened(file) as browser:
        wait(browser)
        yield browser
        assert browser.get_log("browser") == []


def test_the_first_picture_is_soon_there(browser):
    assert float(browser.execute_script("return document.documentElement.dataset.drawn")) < 5000


def test_z_is_dragged(browser):
    drag(browser, "posterior", (0, 0), (60, -40))
    at = [read_number(browser, f"z{d}-shown") for d in (0, 1)]
    assert at[0] > 1 and at[1] > 0.5

    numbers = read_numbers(browser, "log-prior log-likelihood log-joint log-evidence log-posterior")
    prior, likelihood, joint, log_evidence, posterior = numbers
    assert abs(prior + likelihood - joint) < 0.011 and abs(joint - log_evidence - posterior) < 0.011

    press(browser, "posterior", "ARROW_LEFT")
    assert read_number(browser, "z0-shown") < at[0] and read_number(browser, "z1-shown") == at[1]


@pytest.mark.parametrize("image", [0, 4])
def test_the_numbers_at_z_are_those_of_diagnostics(browser, pairs, data, image):
    bring(browser, "where")
    choose(browser, "image", image)
    z = torch.tensor([[0.3, -0.4]])
    for d in (0, 1):
        slide(browser, f"z{d}", z[0, d].item())
    with torch.no_grad():
        log_likelihood = pairs["trained"].likelihood(z).log_prob(data[1][image]).item()
        log_prior = pairs["trained"].prior().log_prob(z).item()
    assert abs(read_number(browser, "log-likelihood") - log_likelihood) < 0.03
    assert abs(read_number(browser, "log-prior") - log_prior) < 0.01


@pytest.mark.parametrize("pair, image", [("trained", 0), ("full", 3)])
def test_the_numbers_of_q_are_those_of_diagnostics(browser, pairs, data, pair, image):
    bring(browser, "bells")
    choose(browser, "pair", list(pairs).index(pair))
    choose(browser, "image", image)
    x = data[1][image : image + 1]
    torch.manual_seed(0)
    bound = pv.diagnostics.elbo(pairs[pair], x, num_samples=20_000, progress=False)
    exact = pv.diagnostics.grid_posterior(pairs[pair], x, size=300)
    expected = {
        "log-evidence": Estimate(exact.log_evidence, torch.zeros(1)),
        "gap": Estimate(exact.gap, torch.zeros(1)),
        "elbo": bound,
        "reconstruction": bound.reconstruction,
        "cost": bound.kl,
    }
    for name, number in expected.items():
        apart = read_number(browser, f"bell-{name}") - number.value.item()
        assert abs(apart) < 0.01 + 5 * number.stderr.item(), name


def test_q_is_dragged_and_the_bar_always_fills_up(browser):
    bring(browser, "bell")
    choose(browser, "pair", 0)
    before = read_numbers(browser, "bell-elbo bell-gap bell-log-evidence")
    drag(browser, "bell", (100, 90), (-70, -20))
    after = read_numbers(browser, "bell-elbo bell-gap bell-log-evidence")
    assert after[0] < before[0] and after[1] > before[1] and after[2] == before[2]
    assert abs(after[0] + after[1] - after[2]) < 0.011
    assert (
        abs(find_box(browser, "bar-gap")["right"] - find_box(browser, "bar-evidence")["left"]) < 2
    )

    press(browser, "bell", "SHIFT", "ARROW_UP")
    assert (
        abs(find_box(browser, "bar-gap")["right"] - find_box(browser, "bar-evidence")["left"]) < 2
    )
    assert find_box(browser, "bar-elbo")["right"] == find_box(browser, "bar-cost")["left"]


@pytest.mark.parametrize("pair, image", [("trained", 1), ("full", 2)])
def test_the_best_q_is_that_of_inference_gaps(browser, pairs, data, pair, image):
    bring(browser, "bell")
    choose(browser, "pair", list(pairs).index(pair))
    choose(browser, "image", image)
    press(browser, "set-encoder", "ENTER")
    encoder = read_number(browser, "bell-elbo")
    press(browser, "set-best", "SPACE")
    best = read_number(browser, "bell-elbo")

    torch.manual_seed(0)
    refit = pv.diagnostics.inference_gaps(
        pairs[pair], data[1][image : image + 1], num_steps=100, progress=False
    ).best_elbo
    assert best >= encoder
    assert abs(best - refit.value.item()) < 0.02 + 5 * refit.stderr.item()


def test_the_images_at_z_are_weighted_by_bayes_rule(browser, pairs, data):
    bring(browser, "many")
    choose(browser, "pair", 0)
    z = torch.tensor([0.2, 0.1])
    for d in (0, 1):
        slide(browser, f"z{d}", z[d].item())
    with torch.no_grad():
        log_q = pairs["trained"].variational(data[0]).log_prob(z).double()
    weights = log_q.softmax(0).sort(descending=True).values
    count = int((weights.cumsum(0) < 0.9).sum()) + 1
    assert abs(read_number(browser, "many-aggregate") - (log_q.logsumexp(0) - np.log(300))) < 0.01
    assert abs(read_number(browser, "many-first") - 100 * weights[0]) < 0.11
    assert abs(read_number(browser, "many-count") - count) <= 1


def test_turning_rings_changes_no_number_of_the_loss_but_that_of_one_bell(browser):
    bring(browser, "rings")
    choose(browser, "pair", 0)
    choose(browser, "image", 0)
    names = ("logEvidence", "elbo", "gap", "reconstruction", "cost")
    gaps, jumps = [], []
    for width in (-2, 2):  # a quarter, and 4
        slide(browser, "ring-width", width)
        for name in names:
            trained, turned = (read_number(browser, f"{w}-{name}") for w in ("before", "turned"))
            assert trained == turned, name
        gaps.append(read_number(browser, "single-gap"))
        jumps.append(read_number(browser, "jump-after"))
    gap, jump = read_numbers(browser, "before-gap jump-before")
    assert gaps[0] > gap + 0.2 and gaps[1] < gap + 0.05
    assert jumps[0] > 5 * jump and jumps[1] == jump  # the walk stays within the first ring of 4


def test_means_are_those_of_diagnostics(browser, pairs, data):
    torch.manual_seed(1)
    bound = pv.diagnostics.elbo(pairs["trained"], data[1], num_samples=2000, progress=False)
    text = browser.find_element("id", "means").text.replace("−", "-")
    shown = float(re.search(r"ELBO (\S+)", text)[1])
    assert abs(shown - bound.value.mean().item()) < 0.1
    assert "trained full" in text and 0 < read_number(browser, "largest-error") < 0.1


def test_it_fits_a_telephone_and_is_moved_by_touch(browser):
    resize(browser, 390, 844)
    wait(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    before = read_number(browser, "loc0-shown")
    touch(browser, "bell", (150, 150), (200, 120))
    assert read_number(browser, "loc0-shown") > before
    resize(browser, 1200, 900)


def assert_bar_is_full(browser):
    end = find_box(browser, "bar-gap")["right"]
    assert abs(end - find_box(browser, "bar-evidence")["left"]) < 2


def read_numbers(browser, names):
    return [read_number(browser, name) for name in names.split()]


X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


def make_lines(prior=None):
    torch.manual_seed(0)
    return pv.VAE(
        prior=prior or pv.StandardNormal(2),
        likelihood=pv.Normal(5, given=2, scale=1.0),
        variational=pv.Normal(2, given=5),
    )


def sharpen(pair):
    """A decoder so steep that no grid shows it."""
    with torch.no_grad():
        for parameter in pair.likelihood.parameters():
            parameter.mul_(30)
    return pair


def test_what_is_no_image_is_a_line_and_a_prior_that_is_not_round_is_not_turned(tmp_path):
    far = pv.Normal(2, loc=torch.tensor([1.0, 0.0]), scale=1.0)
    pairs = {"far": make_lines(far), "steep": sharpen(make_lines())}
    page = explore(pairs, X, X[:3])
    assert read_payload(page)["shape"] == [5]
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")

    with opened(path) as browser:
        wait(browser)
        assert not browser.find_element("id", "rings").is_displayed()
        assert not browser.find_element("css selector", "input[name=pair][value='1']").is_enabled()
        assert "steep" in browser.find_element("id", "out").text
        exact = pv.diagnostics.grid_posterior(pairs["far"], X[:1], size=300)
        assert abs(read_number(browser, "log-evidence") - exact.log_evidence.item()) < 0.01
        assert browser.get_log("browser") == []


@pytest.fixture
def coarse(monkeypatch):
    """Grids of few points."""
    monkeypatch.setattr("pyro_vae.look.planes.SIZE", 21)
    monkeypatch.setattr("pyro_vae.look.planes.FINEST", 40)


@pytest.mark.usefixtures("coarse")
def test_pairs_too_steep_for_the_grid_are_compared_alone(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(explore({"steep": sharpen(make_lines())}, X, X[:3]), encoding="utf-8")
    with opened(path) as browser:
        wait(browser)
        assert not browser.find_element("id", "where").is_displayed()
        assert "log p(x)" in browser.find_element("id", "means").text
        assert browser.get_log("browser") == []


@pytest.mark.parametrize(
    "change, error, said",
    [
        ({"pairs": [make()]}, TypeError, "trained pairs by their names"),
        ({"pairs": {}}, ValueError, "at least one trained pair"),
        ({"pairs": {"a": make(latent=3)}}, ValueError, "one latent of two dimensions.*z \\[3\\]"),
        ({"pairs": {"a": make(pv.StudentT)}}, ValueError, "a normal q.*StudentT"),
        ({"x": torch.zeros(0, *EVENT)}, ValueError, "data of one shape"),
        ({"images": torch.zeros(3, 5)}, ValueError, "data of one shape.*3, 5"),
        ({"labels": torch.zeros(3)}, ValueError, "labels: expected one for each of the 5"),
    ],
    ids=["list", "none", "latents", "family", "empty", "shapes", "labels"],
)
def test_what_cannot_be_explored_is_said(change, error, said):
    given = {"pairs": {"a": make()}, "x": torch.zeros(5, *EVENT), "images": torch.zeros(2, *EVENT)}
    with pytest.raises(error, match=said):
        explore(**given | change)


@pytest.mark.usefixtures("coarse")
def test_a_page_that_would_be_too_large_is_refused(monkeypatch):
    monkeypatch.setattr("pyro_vae.look.explore.LARGEST", 10_000)
    with pytest.raises(ValueError, match=r"the page would have .* MB.*fewer than these 1 pairs"):
        explore({"a": make()}, torch.zeros(5, *EVENT), torch.zeros(2, *EVENT))


@pytest.mark.usefixtures("coarse")
def test_large_images_are_shrunk_in_their_proportions():
    event = (3, 40, 20)
    page = explore(
        {"a": make(likelihood=pv.Normal, event=event)}, torch.rand(5, *event), torch.rand(2, *event)
    )
    payload = read_payload(page)
    assert payload["shape"] == [3, 16, 8]
    shares = unpack(payload["images"][0])
    assert len(shares) == 3 * 16 * 8 and shares.min() >= 0 and shares.max() <= 1
