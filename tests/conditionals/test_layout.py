"""How numbers become parameters: computed, fixed, learned, as an image; and what is refused."""

import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.conditionals.constrain import positive

small = partial(pv.networks.mlp, hidden=(8,))

# Numbers to parameters


def test_numbers_are_split_among_the_parameters_in_their_order():
    layout = pv.StudentT.lay_out((2, 3), df=4.0)
    numbers = torch.randn(5, 12)
    values = layout.parametrise(numbers)

    assert layout.computed == ["loc", "scale"] and (layout.numbers, layout.out_shape) == (12, (12,))
    assert torch.equal(values["loc"], numbers[:, :6].reshape(5, 2, 3))
    assert torch.equal(values["scale"], positive(numbers[:, 6:]).reshape(5, 2, 3))
    assert torch.equal(values["df"], torch.full((2, 3), 4.0))


def test_the_distribution_at_numbers_is_over_events():
    layout = pv.Normal.lay_out((2, 3))
    numbers = torch.randn(7, 5, 12)
    p, entries = layout.at(numbers), layout.entries_at(numbers)

    assert (p.batch_shape, p.event_shape) == ((7, 5), (2, 3))
    assert (entries.batch_shape, entries.event_shape) == ((7, 5, 2, 3), ())
    x = p.sample()
    torch.testing.assert_close(p.log_prob(x), entries.log_prob(x).sum((-1, -2)))
    assert layout.support.event_dim == 2


@pytest.mark.parametrize("family", [pv.Normal, pv.LowRankNormal, pv.MultivariateNormal])
def test_a_family_has_the_distribution_of_its_layout(family):
    options = {"rank": 2} if family is pv.LowRankNormal else {}
    q = family(3, given=4, **options)
    b, z = torch.randn(5, 4), torch.randn(5, 3)
    p = family.lay_out(3, **options).at(q.compute_numbers(b))

    assert torch.equal(q(b).log_prob(z), p.log_prob(z))
    assert q.layout.numbers == math.prod(q.net.out_shape)


def test_free_numbers_start_at_zero_or_where_the_family_asks_at_random():
    assert (pv.Normal.lay_out(3).start() == 0).all()
    assert (pv.LowRankNormal.lay_out(3, rank=1).start() != 0).all()
    assert (pv.PowerSpherical(3).raw != 0).all()


def test_an_image_has_its_numbers_in_channels():
    layout = pv.Categorical.lay_out((3, 4, 5), classes=2)
    image = torch.randn(7, *layout.out_shape)
    logits = layout.parametrise(image.flatten(1))["logits"]

    assert layout.out_shape == (2 * 3, 4, 5)
    for k, c in itertools.product(range(2), range(3)):
        assert torch.equal(logits[:, c, :, :, k], image[:, 3 * k + c])


@pytest.mark.parametrize(
    "layout, out_shape",
    [
        (lambda: pv.Normal.lay_out((1, 28, 28)), (2, 28, 28)),
        (lambda: pv.Normal.lay_out((1, 28, 28), scale="shared"), (1, 28, 28)),
        (lambda: pv.Normal.lay_out((28, 28)), (2 * 28 * 28,)),
        (lambda: pv.MultivariateNormal.lay_out((1, 2, 3)), (1 + 3, 2, 3)),
        (lambda: pv.Dirichlet.lay_out((2, 3)), (6,)),
        (lambda: pv.LogisticNormal.lay_out((1, 2, 3)), (8,)),
        (lambda: pv.PowerSpherical.lay_out((1, 2, 3)), (8,)),
        (lambda: pv.Bernoulli.lay_out(()), (1,)),
    ],
)
def test_only_what_fills_whole_channels_is_an_image(layout, out_shape):
    assert layout().out_shape == out_shape


def test_each_number_belongs_to_an_entry():
    layout = pv.Ordinal.lay_out(3, classes=4)
    numbers = torch.zeros(layout.numbers, requires_grad=True)
    log_p = layout.entries_at(numbers).log_prob(torch.ones(3))

    for entry in range(3):
        (gradient,) = torch.autograd.grad(log_p[entry], numbers, retain_graph=True)
        assert (layout.find_entries()[gradient != 0] == entry).all()
    assert len(layout.find_entries()) == layout.numbers == 9


def test_a_layout_is_no_free_family():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    layout = pv.LowRankNormal.lay_out(3, rank=2)
    assert torch.equal(torch.get_rng_state(), state) and not list(layout.parameters())
    assert [name for name, _ in pv.Normal.lay_out(2, scale="free").named_parameters()] == [
        "scale_raw"
    ]


# Fixed and learned parameters


def test_a_fixed_parameter_is_a_buffer():
    p = pv.Normal((2, 3), given=4, scale=torch.tensor([0.1, 0.2, 0.3]))

    assert "layout.fixed_scale" in dict(p.named_buffers()) and "layout.fixed_scale" not in dict(
        p.named_parameters()
    )
    assert p.net.out_shape == (6,), "the network computes loc alone"
    torch.testing.assert_close(
        p(torch.zeros(5, 4)).stddev, torch.tensor([0.1, 0.2, 0.3]).expand(5, 2, 3)
    )
    assert p.double()(torch.zeros(5, 4).double()).sample().dtype == torch.float64
    assert pv.Normal(2, scale=0.1).double()().sample().dtype == torch.float64


def test_a_fixed_parameter_is_taken_as_it_is():
    w, tril = 1e4 * torch.randn(3, 2), torch.tensor([[1e-8, 0.0], [1.0, 1e8]])

    assert torch.equal(
        pv.LowRankNormal(3, rank=2, cov_factor=w).layout.parametrise(torch.zeros(6))["cov_factor"],
        w,
    )
    assert torch.equal(pv.MultivariateNormal(2, scale_tril=tril)().scale_tril, tril)
    assert (
        pv.Mixture(pv.Normal, 2, components=3, scale=0.1)().component_distribution.stddev.unique()
        == 0.1
    )


@pytest.mark.parametrize("how, shape", [("shared", ()), ("free", (2, 3))])
@pytest.mark.parametrize(
    "family, key", [(pv.Normal, "scale"), (pv.StudentT, "df"), (pv.NegativeBinomial, "total_count")]
)
def test_a_learned_parameter_is_the_same_for_every_z(family, key, how, shape):
    likelihood = family((2, 3), given=4, net=small, **{key: how})
    raw = dict(likelihood.named_parameters())[f"layout.{key}_raw"]
    nn.init.normal_(raw)
    values = likelihood.layout.parametrise(likelihood.compute_numbers(torch.randn(7, 5, 4)))

    assert raw.shape == shape and values[key].shape == (2, 3)
    assert values[key].unique().numel() == raw.numel()
    assert f"layout.fixed_{key}" not in likelihood.state_dict()
    assert repr(likelihood) == f"{family.__name__}((2, 3) | (4,), {key}={how})"
    assert likelihood(torch.randn(7, 5, 4)).log_prob(torch.ones(7, 5, 2, 3)).shape == (7, 5)


# Misuse

MISUSES = {
    "fixed outside the constraint": (
        lambda: pv.Normal(2, scale=-1.0),
        ValueError,
        r"scale: expected finite values within GreaterThan\(lower_bound=0.0\), got -1",
    ),
    "a scale of zero": (
        lambda: pv.Normal(2, given=3, scale=0.0),
        ValueError,
        r"scale: expected finite values within GreaterThan\(lower_bound=0.0\), got 0",
    ),
    "fixed, and no factor": (
        lambda: pv.MultivariateNormal(2, scale_tril=torch.ones(2, 2)),
        ValueError,
        r"scale_tril: expected .* LowerCholesky\(\), got 1",
    ),
    "fixed to nan": (
        lambda: pv.Normal(2, loc=torch.nan),
        ValueError,
        "loc: expected finite values",
    ),
    "fixed in another shape": (
        lambda: pv.Normal(2, scale=torch.ones(3)),
        ValueError,
        r"scale: expected a number or a tensor of shape \(2,\), got shape \(3,\)",
    ),
    "an unknown keyword": (
        lambda: pv.LowRankNormal(2, rank=1, sigma=1.0),
        TypeError,
        "has no parameter or option sigma; .*: loc, cov_diag, cov_factor; options: rank",
    ),
    "no classes": (
        lambda: pv.Categorical(3),
        TypeError,
        "Categorical needs classes=, a positive whole number",
    ),
    "no rank": (lambda: pv.LowRankNormal(3), TypeError, "LowRankNormal needs rank="),
    "half a class": (
        lambda: pv.Categorical(3, classes=2.5),
        TypeError,
        r"classes: expected a positive whole number, got 2\.5",
    ),
    "a vector's family for a scalar": (
        lambda: pv.MultivariateNormal(()),
        ValueError,
        r"\(\) has too few dimensions",
    ),
    "low rank for a scalar": (
        lambda: pv.LowRankNormal((), rank=2),
        ValueError,
        r"\(\) has too few dimensions",
    ),
    "a word that is none": (
        lambda: pv.Normal(2, given=3, scale="pixel"),
        ValueError,
        r"scale: expected a number, a tensor, or .*'shared' .*'free' .*, got 'pixel'",
    ),
    "a shared parameter of another shape": (
        lambda: pv.Ordinal(2, given=3, classes=4, gaps="shared"),
        ValueError,
        "gaps: expected .* parameter of the event's shape 'shared'",
    ),
    "an unknown parameter learned": (
        lambda: pv.Normal(2, given=3, sigma="free"),
        TypeError,
        "Normal has no parameter or option sigma",
    ),
    "a whole number learned": (
        lambda: pv.DiscretisedLogistic(2, given=3, levels="shared"),
        ValueError,
        "levels: expected a number, a tensor, .*got 'shared'",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
