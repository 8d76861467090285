"""Agreement of modalities, in a linear world where the chance of equal signs is known."""

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics import coherence
from pyro_vae.weights import blocks
from tests.oracles import linear_modalities, near

QUIET = {"progress": False}
N = 2000


def find_mean(linear):
    w, b = torch.cat(list(linear.w.values())), torch.cat(list(linear.b.values()))
    return (w @ linear.m + b).split([4, 3])


def classify(linear):
    """The sign of a number of each modality, less its mean."""
    a, b = find_mean(linear)
    return {
        "image": lambda x: (x[:, 2] > a[2]).long(),
        "text": lambda x: (x[:, 0] > b[0]).long(),
    }


def share_of_equal_signs(linear, stretch=1.0, given="image", drawn="text"):
    """The share for z ~ N(mean, (stretch * scale)²) of the exact p(z | x_given), by Sheppard."""
    row = {"image": linear.w["image"][2], "text": linear.w["text"][0]}
    w = linear.w[given]
    prior = linear.t**2 * torch.eye(2).double()
    x = w @ prior @ w.T + linear.s**2 * torch.eye(len(w)).double()
    expert = linear.s**2 / w.square().sum(0) * stretch**2
    precision = 1 / linear.t**2 + 1 / expert
    gain = (w / linear.s**2 / stretch**2 / precision).T
    # z = gain (x - mean) + noise, and the other modality is a function of z
    z = gain @ x @ gain.T + (1 / precision).diag()
    place = 2 if given == "image" else 0
    across = (gain @ x)[:, place] @ row[drawn]
    own = x[place, place]
    other = row[drawn] @ z @ row[drawn] + linear.s**2
    return 0.5 + math.asin(across / (own * other).sqrt()) / math.pi


def test_with_exact_experts_all_shares_are_that_of_the_model():
    linear = linear_modalities()
    truth = share_of_equal_signs(linear)
    assert abs(truth - share_of_equal_signs(linear, given="text", drawn="image")) < 1e-12
    assert abs(truth - 0.5) > 0.05

    torch.manual_seed(0)
    data = linear.sample(N)
    found = coherence(
        linear.pair(), *data, classify=classify(linear), num_samples=20, draws=4, **QUIET
    )
    assert near(found.joint, truth)
    for ways in (found.variational, found.posterior):
        assert list(ways) == [("image", "text"), ("text", "image")]
        assert all(near(share, truth) for share in ways.values())


def test_a_wrong_q_is_seen_and_mended_by_the_weights():
    linear, stretch = linear_modalities(), 4.0
    truth = share_of_equal_signs(linear)
    faulty = share_of_equal_signs(linear, stretch)
    torch.manual_seed(0)
    data = linear.sample(N)
    found = coherence(
        linear.pair(stretch), *data, classify=classify(linear), num_samples=300, draws=4, **QUIET
    )
    way = "image", "text"
    assert near(found.variational[way], faulty)
    assert not near(found.variational[way], truth)
    assert near(found.posterior[way], truth)


def test_the_error_is_that_of_repeated_measurements():
    linear = linear_modalities()
    pair, found = linear.pair(), []
    for seed in range(40):
        torch.manual_seed(seed)
        data = linear.sample(60)
        options = {"num_samples": 5, "draws": 3, "simulations": 60}
        found.append(coherence(pair, *data, classify=classify(linear), **options, **QUIET))
    for pick in (lambda c: c.joint, lambda c: c.variational["image", "text"]):
        values = torch.tensor([pick(c).value for c in found])
        errors = torch.tensor([pick(c).stderr for c in found])
        assert 0.7 < values.std() / errors.mean() < 1.4


def test_rows_without_a_modality_are_left_out_and_blocks_joined(monkeypatch):
    linear = linear_modalities()
    image, text = linear.sample(6)
    image[1], text[2], text[5] = torch.nan, torch.nan, torch.nan
    monkeypatch.setattr(blocks, "KEPT", 5 * 7 * 2)
    found = coherence(linear.pair(), image, text, classify=classify(linear), num_samples=5, **QUIET)
    assert {given: len(ess) for given, ess in found.ess.items()} == {"image": 5, "text": 4}


def test_it_prints_a_table_and_doubts_few_effective_samples():
    linear = linear_modalities()
    x = linear.sample(20)
    found = coherence(linear.pair(), *x, classify=classify(linear), num_samples=5, **QUIET)
    said = str(found)
    assert "text from image" in said and "image from text" in said and "all, drawn from p" in said
    assert "given image: fewer than 10 effective samples for 100 %" in said
    sure = coherence(linear.pair(), *x, classify=classify(linear), num_samples=50, **QUIET)
    assert sure.warnings() == []


def test_all_that_agree_still_have_an_error():
    linear = linear_modalities()
    same = {name: lambda x: torch.zeros(len(x)) for name in ("image", "text")}
    found = coherence(linear.pair(), *linear.sample(30), classify=same, num_samples=5, **QUIET)
    assert found.joint.value == 1 and found.joint.stderr > 0
    assert found.variational["image", "text"].stderr > 0


def labelled():
    return pv.MultimodalVAE(
        prior=pv.StandardNormal(2),
        likelihoods={"count": pv.Poisson(3, given=2), "label": pv.OneHotCategorical(3, given=2)},
        experts={"count": pv.Normal(2, given=3), "label": pv.Normal(2, given=3)},
    )


def of_label():
    return {"count": lambda x: x.argmax(-1), "label": lambda y: y.argmax(-1)}


@pytest.mark.parametrize("mean", [False, True])
def test_a_label_classifies_itself_beside_whole_numbers(mean):
    count, label = torch.randint(0, 4, (7, 3)), torch.eye(3)[torch.arange(7) % 3]
    found = coherence(
        labelled(), count, label, classify=of_label(), num_samples=20, mean=mean, **QUIET
    )
    assert all(0 <= share.value <= 1 for share in found.variational.values())


COUNT, LABEL = torch.ones(4, 3), torch.eye(3)[torch.arange(4) % 3]


@pytest.mark.parametrize(
    ("changed", "data", "error", "words"),
    [
        ({"label": None}, (COUNT, LABEL), ValueError, "a function for two modalities at least"),
        ({"sound": len}, (COUNT, LABEL), ValueError, "classify: expected 'count' or 'label'"),
        (
            {"label": lambda y: y},
            (COUNT, LABEL),
            ValueError,
            r"function of label to give a class for each row, \(\d+,\), got \(\d+, 3\)",
        ),
        ({}, (COUNT, LABEL * torch.nan), ValueError, "label is missing in every row"),
    ],
)
def test_bad_arguments(changed, data, error, words):
    functions = {name: f for name, f in (of_label() | changed).items() if f is not None}
    with pytest.raises(error, match=words):
        coherence(labelled(), *data, classify=functions, num_samples=3, **QUIET)


def test_another_pair_has_no_modalities():
    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(4, given=2),
        variational=pv.Normal(2, given=4),
    )
    with pytest.raises(TypeError, match="pair: expected a MultimodalVAE, got VAE"):
        coherence(pair, torch.ones(3, 4), classify=of_label())
