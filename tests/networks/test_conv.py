"""Convolutional networks: images of any size, in either direction."""

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.networks import conv

IMAGE = (2, 8, 6)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7), (8, 5), (28, 28), (19, 31)], ids=str)
def test_conv_takes_and_makes_images_of_any_size(size):
    net = conv([(3, *size)], (2, *size), channels=(4, 4, 4), activation=nn.SiLU)
    x = torch.randn(2, 3, *size, requires_grad=True)

    net(x).square().sum().backward()

    assert net(x).shape == (2, 2, *size)
    assert all(x.grad.abs().sum((0, 1)).flatten() > 0), "every pixel counts"


def test_a_network_towards_an_image_is_asked_for_channels():
    seen = []

    def recorded(given_shapes, out_shape):
        seen.append(out_shape)
        return conv(given_shapes, out_shape)

    p = pv.Normal(IMAGE, given=5, net=recorded)
    z = torch.randn(3, 5)

    assert seen == [(4, 8, 6)]
    torch.testing.assert_close(p(z).mean, p.net(z)[:, :2])


MISUSES = {
    "conv without an image": (
        lambda: conv([(3,), (4,)], (5,)),
        ValueError,
        r"conv needs an image.*\(5,\)",
    ),
    "conv without channels": (
        lambda: conv([IMAGE], (5,), channels=()),
        ValueError,
        "channels: expected at least",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
