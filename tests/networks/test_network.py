"""Networks: any leading dimensions, several variables, modules of the user's own."""

import math
from functools import partial

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.networks import build, conv, mlp

IMAGE = (2, 8, 6)


class PixelNet(nn.Module):
    """A network as a user writes one: images only, one batch dimension only."""

    def __init__(self, given_shapes, out_shape):
        super().__init__()

        (channels, *size), (numbers,) = given_shapes[0], out_shape
        self.conv = nn.Conv2d(channels, 3, 3, padding=1)
        self.head = nn.Linear(3 * math.prod(size), numbers)

    def forward(self, x):
        assert x.dim() == 4, "[batch, channels, height, width] and nothing else"
        return self.head(self.conv(x).relu().flatten(1))


class Returns(nn.Module):
    """A body that returns whatever `make(batch)` makes, and keeps what came in."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, *given):
        self.given = given
        return self.make(len(given[0]))


def singly(net, *given):
    """What the net returns for each datum on its own, put back together."""
    lead = torch.broadcast_shapes(
        *(g.shape[: g.dim() - len(s)] for g, s in zip(given, net.given_shapes))
    )
    rows = [g.expand(lead + s).reshape(-1, *s) for g, s in zip(given, net.given_shapes)]
    return torch.stack([net(*row) for row in zip(*rows)]).reshape(*lead, *net.out_shape)


BUILDERS = {
    "mlp": partial(mlp, hidden=(16,)),
    "mlp without hidden layers": partial(mlp, hidden=()),
    "mlp of tanh": partial(mlp, hidden=(8, 8), activation=nn.Tanh),
    "conv": partial(conv, channels=(4, 8), hidden=16),
    "conv of one layer": partial(conv, channels=(4,), hidden=8, activation=nn.SiLU),
    "a class": PixelNet,
    "a function": lambda given, out: PixelNet(given, out),
    "a module": PixelNet([IMAGE], (7,)),
}

SHAPES = {  # given, out
    "vector to vector": ([(5,)], (7,)),
    "scalar to scalar": ([()], (1,)),
    "image to vector": ([IMAGE], (7,)),
    "vector to image": ([(5,)], IMAGE),
    "image to image": ([IMAGE], (3, 5, 9)),
    "image and scalar to vector": ([IMAGE, ()], (7,)),
    "vector and images to image": ([(5,), IMAGE, (1, 3, 4)], (1, 1, 7)),
}

ADMITTED = [
    pytest.param(builder, *SHAPES[shapes], id=f"{name}, {shapes}")
    for name, builder in BUILDERS.items()
    for shapes in SHAPES
    if (name.startswith("mlp") or "image" in shapes)
    and (not name.startswith("a ") or shapes == "image to vector")
]


@pytest.mark.parametrize("lead", [(), (4,), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("builder, given, out", ADMITTED)
def test_each_datum_is_transformed_on_its_own(builder, given, out, lead):
    net = build(builder, given, out)
    inputs = [torch.randn(lead + shape) for shape in given]

    result = net(*inputs)

    assert result.shape == (*lead, *out)
    torch.testing.assert_close(result, singly(net, *inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("builder", [mlp, conv])
def test_leading_dimensions_of_several_variables_broadcast(builder):
    net = builder([(5,), IMAGE, ()], (7,))
    inputs = torch.randn(3, 1, 5), torch.randn(2, *IMAGE), torch.randn(2, 1, 1)

    result = net(*inputs)

    assert result.shape == (2, 3, 2, 7)
    torch.testing.assert_close(result, singly(net, *inputs), rtol=1e-4, atol=1e-5)


def test_integers_are_cast_to_the_type_of_the_network():
    net = mlp([(3,)], (2,))
    counts = torch.tensor([[1, 0, 5], [2, 2, 2]])

    for dtype in (torch.uint8, torch.int64, torch.bool, torch.float64):
        x = counts.to(dtype)
        torch.testing.assert_close(net(x), net(x.float()), rtol=0, atol=0)
    assert net.double()(counts).dtype == torch.float64


def test_a_conditional_takes_a_net_of_any_kind():
    x = torch.randn(4, 3, *IMAGE)
    seen = []

    def recorded(given_shapes, out_shape):
        seen.append((given_shapes, out_shape))
        return PixelNet(given_shapes, out_shape)

    for net in (PixelNet, recorded, PixelNet([IMAGE], (4,))):
        q = pv.Normal(2, given=IMAGE, net=net)
        assert isinstance(q.net.body, PixelNet)
        assert q(x).batch_shape == (4, 3)
    assert seen == [([IMAGE], (4,))]


WRONG_OUTPUTS = {
    "too many numbers": (lambda n: torch.zeros(n, 5), r"expected \[3, 4\].*got \[3, 5\]"),
    "another batch": (lambda n: torch.zeros(1, 4), r"expected \[3, 4\].*got \[1, 4\]"),
    "the batch last": (lambda n: torch.zeros(4, n), r"expected \[3, 4\].*got \[4, 3\]"),
    "no batch": (lambda n: torch.tensor(0.0), r"expected \[3, 4\].*got \[\]"),
    "a pair": (lambda n: (torch.zeros(n, 2), torch.zeros(n, 2)), r"expected \[3, 4\].*got tuple"),
}


@pytest.mark.parametrize("make, message", WRONG_OUTPUTS.values(), ids=WRONG_OUTPUTS)
def test_a_wrong_output_is_reported_with_expected_and_got(make, message):
    q = pv.Normal(2, given=3, net=Returns(make))
    with pytest.raises(ValueError, match=f"net returns the wrong shape: {message}"):
        q(torch.zeros(3, 3))


def test_the_body_sees_one_batch_dimension():
    body = Returns(lambda n: torch.zeros(n, 2, 2))
    net = build(body, [(3,), ()], (4,))

    assert net(torch.zeros(5, 1, 3), torch.zeros(2)).shape == (5, 2, 4)
    assert [tuple(g.shape) for g in body.given] == [(10, 3), (10,)]


MISUSES = {
    "the builder makes no module": (
        lambda: pv.Normal(2, given=3, net=lambda given, out: "a net"),
        TypeError,
        "the builder returned a str, expected an nn.Module",
    ),
    "the net is no builder": (
        lambda: pv.Normal(2, given=3, net=64),
        TypeError,
        "expected a builder.*got 64",
    ),
    "too few variables": (
        lambda: mlp([(3,), (4,)], (5,))(torch.zeros(1, 3)),
        TypeError,
        r"expected 2 given variable\(s\) of shapes \[\(3,\), \(4,\)\], got 1",
    ),
    "too many variables": (
        lambda: pv.Normal(2)(torch.zeros(3)),
        TypeError,
        r"expected 0 given.*got 1",
    ),
    "another shape": (
        lambda: mlp([(3,), (2, 4)], (5,))(torch.zeros(1, 3), torch.zeros(7, 4)),
        ValueError,
        r"given variable 1 has the wrong event shape: expected \[\.\.\., 2, 4\], got \[7, 4\]",
    ),
    "too few dimensions": (
        lambda: conv([IMAGE], (5,))(torch.zeros(8, 6)),
        ValueError,
        r"expected.*got \[8, 6\]",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
