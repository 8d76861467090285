"""The numbers of an image: their shape, and their order."""

import itertools
import math

import pytest
import torch

from pyro_vae.conditionals.channels import arrange, choose_out_shape


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 4, 5), (3, 4, 5)], ids=str)
def test_several_numbers_of_an_entry_come_before_the_event(shape):
    several = (2, 6)
    numbers = torch.randn(7, math.prod(shape + several))
    arranged = arrange(numbers, shape + several, shape)

    assert arranged.shape == (7, *shape, *several)
    leading = numbers.reshape(7, *several, *shape)
    for i, j in itertools.product(range(2), range(6)):
        assert torch.equal(arranged[..., i, j], leading[:, i, j])


@pytest.mark.parametrize("shape", [(2, 3), (2,), (2, 2), (3, 3, 3)], ids=str)
def test_a_parameter_of_a_shape_of_its_own_is_in_memory_order(shape):
    numbers = torch.randn(7, 5, math.prod(shape))
    assert torch.equal(arrange(numbers, shape, (2, 3)), numbers.reshape(7, 5, *shape))


def test_an_image_is_asked_for_in_channels():
    assert choose_out_shape((3, 4, 5), 2 * 3 * 4 * 5) == (6, 4, 5)
    assert choose_out_shape((3, 4, 5), 2 * 4 * 5) == (2, 4, 5)
    assert choose_out_shape((3, 4, 5), 21) == (21,), "no whole channels"
    assert choose_out_shape((4, 5), 40) == (40,)
    assert choose_out_shape((), 2) == (2,)
