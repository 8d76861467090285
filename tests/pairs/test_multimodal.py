"""Linear modalities with exact experts: their product is the posterior."""

import math

import pyro
import pytest
import torch

import pyro_vae as pv
from pyro_vae.pairs.multimodal import is_there
from pyro_vae.weights.intake import admit
from tests.oracles import linear_modalities as world
from tests.oracles import near, with_gaps, within

QUIET = {"progress": False}


def test_a_product_of_exact_experts_is_the_posterior():
    x = with_gaps()
    log_w = pv.diagnostics.log_weights(world().pair(), *x, num_samples=3)
    torch.testing.assert_close(log_w, world().truth(*x).expand(3, 6), rtol=1e-6, atol=1e-6)


def test_the_mixture_has_a_component_for_each_that_is_there():
    x, pair = with_gaps(), world().pair(join="mixture")
    q = pair.find_variational(*x)
    z = torch.randn(6, 2).double()
    experts = [expert(v.nan_to_num()).log_prob(z) for expert, v in zip(pair.experts.values(), x)]
    there = torch.stack([is_there(v) for v in x])
    each = torch.where(there, torch.stack(experts), -torch.inf)
    torch.testing.assert_close(q.log_prob(z), each.logsumexp(0) - there.sum(0).log())


@pytest.mark.parametrize("join", ["product", "mixture"])
def test_evidence_and_annealing_beside_it(join):
    x, pair = with_gaps(), world().pair(stretch=1.5, join=join)
    exact = world().truth(*x)
    sampled = pv.diagnostics.log_evidence(pair, *x, num_samples=5000, **QUIET)
    annealed = pv.diagnostics.annealed_log_evidence(
        pair, *x, num_steps=10, num_chains=40, num_leapfrog=4, **QUIET
    )
    assert within(sampled.value, exact, sampled.stderr)
    assert near(annealed, exact)


@pytest.mark.parametrize("join", ["product", "mixture"])
def test_gradients_are_finite_with_gaps(join):
    x, pair = with_gaps(), world().pair(stretch=1.5, join=join)
    pv.Objective(pair)(*x).backward()
    gradients = [p.grad for p in pair.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients)


def test_one_modality_is_generated_from_the_other():
    """A modality that is missing in every row is drawn from p(text | image)."""
    linear = world()
    image, _ = linear.sample(1)
    n = 20_000
    image, text = image.expand(n, 4), torch.full((n, 3), torch.nan).double()
    drawn = pv.reconstruct(linear.pair(), image, text, mean=False)["text"]

    w, b = torch.cat(list(linear.w.values())), torch.cat(list(linear.b.values()))
    cov = linear.t**2 * w @ w.T + linear.s**2 * torch.eye(7).double()
    mean = w @ linear.m + b
    gain = cov[4:, :4] @ torch.linalg.inv(cov[:4, :4])
    expected = mean[4:] + gain @ (image[0] - mean[:4])
    spread = (cov[4:, 4:] - gain @ cov[:4, 4:]).diagonal()
    assert within(drawn.mean(0), expected, (spread / n).sqrt())
    assert within(drawn.var(0), spread, spread * math.sqrt(2 / n))


X = torch.zeros(3, 4), torch.zeros(3, 3)


def blank(x, rows, columns=slice(None)):
    x = x.clone()
    x[rows, columns] = torch.nan
    return x


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (X[:1], TypeError, r"expected a tensor for each of \['image', 'text'\], got 1"),
        ((*X, X[0]), TypeError, "got 3"),
        ((blank(X[0], 1), blank(X[1], 1)), ValueError, r"no modality is there in rows \[1\]"),
        ((blank(X[0], 2, 0), X[1]), ValueError, r"image: some .* NaN in rows \[2\]"),
        ((X[0], blank(X[1], 0, 1)), ValueError, r"text: some .* NaN in rows \[0\]"),
        ((X[0] + torch.inf, X[1]), ValueError, r"image: .* infinite"),
        ((X[0], X[1][:2]), ValueError, "expected as many rows as x, 3, got 2"),
    ],
)
def test_bad_data_are_refused_before_training(data, error, words):
    pair = world().pair()
    with pytest.raises(error, match=words):
        pv.fit(pair, *data, epochs=1, **QUIET)
    with pytest.raises(error, match=words):
        admit(pair, data)


def test_a_modality_that_is_missing_in_every_row_cannot_be_trained():
    pair, data = make(), (X[0], blank(X[1], slice(None)))
    with pytest.raises(ValueError, match=r"text: it is missing in every one of the 3 rows"):
        pv.fit(pair, *data, epochs=1, **QUIET)
    assert pv.diagnostics.log_weights(pair, *data, num_samples=2).isfinite().all()


def make(**changed):
    parts = {
        "prior": pv.StandardNormal(2),
        "likelihoods": {"image": pv.Bernoulli(4, given=2), "text": pv.Bernoulli(3, given=2)},
        "experts": {"image": pv.Normal(2, given=4), "text": pv.Normal(2, given=3)},
    }
    return pv.MultimodalVAE(**(parts | changed))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"likelihoods": {}, "experts": {}}, "experts: expected one for each likelihood"),
        ({"experts": {"image": pv.Normal(2, given=4)}}, r"under the same names.*got \['image'\]"),
        ({"join": "sum"}, "join: expected 'product' or 'mixture', got 'sum'"),
        ({"prior": pv.StandardNormal(3)}, "shape of z"),
        (
            {"experts": {"image": pv.Normal(2, given=5), "text": pv.Normal(2, given=3)}},
            "shape of image",
        ),
        (
            {"experts": {"image": pv.Gamma(2, given=4), "text": pv.Normal(2, given=3)}},
            "expert of image: expected a pv.Normal",
        ),
        (
            {"experts": {"image": pv.Laplace(2, given=4), "text": pv.Normal(2, given=3)}},
            "expert of image: expected a pv.Normal",
        ),
        (
            {
                "experts": {
                    "image": pv.MultivariateNormal(2, given=4),
                    "text": pv.Normal(2, given=3),
                }
            },
            "expert of image: expected a pv.Normal",
        ),
        ({"prior": pv.Laplace(2)}, "prior: expected a pv.Normal"),
    ],
)
def test_parts_that_do_not_fit(changed, words):
    with pytest.raises(ValueError, match=words):
        make(**changed)


def test_a_mixture_takes_any_prior():
    pair = make(prior=pv.Laplace(2), join="mixture")
    pv.Objective(pair)(*X)


def test_the_posterior_is_calibrated_with_what_is_missing():
    image, text = (x.repeat(40, 1) for x in with_gaps())
    pair = world().pair()
    assert pv.diagnostics.calibrate(pair, image, text, num_draws=50, **QUIET).passed
    narrow = world().pair(stretch=0.4)
    assert not pv.diagnostics.calibrate(narrow, image, text, num_draws=50, **QUIET).passed


def test_the_picture_says_what_is_missing():
    seen = pv.diagnostics.picture(world().pair(), *with_gaps(), num_samples=20, **QUIET)
    assert "Missing in rows: image in 1, text in 2. log p(x) is of the modalities" in str(seen)


SUPPORTS = {
    "one-hot": (pv.OneHotCategorical(3, given=2), torch.eye(3)[torch.arange(3)]),
    "positive": (pv.Gamma(3, given=2), torch.ones(3, 3)),
    "simplex": (pv.Dirichlet(3, given=2), torch.full((3, 3), 1 / 3)),
    "direction": (pv.PowerSpherical(3, given=2), torch.eye(3)),
    "count": (pv.Poisson(3, given=2), torch.ones(3, 3)),
}


@pytest.mark.parametrize(("likelihood", "text"), SUPPORTS.values(), ids=SUPPORTS)
def test_what_is_missing_stays_within_the_support(likelihood, text):
    """Validation is on here, and a density may be infinite at 0."""
    text = blank(text, 1)
    pair = make(likelihoods={"image": pv.Bernoulli(4, given=2), "text": likelihood})
    with pyro.validation_enabled(True):
        pv.Objective(pair)(X[0], text).backward()
    gradients = [p.grad for p in pair.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients)
