"""Networks over sequences."""

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.networks.recurrent import Backward, gated

LENGTHS = torch.tensor([5, 1, 3])


@pytest.mark.parametrize("cell", [nn.GRU, nn.RNN, nn.LSTM])
def test_each_sequence_is_read_from_its_end(cell):
    encode = Backward(4, 6, cell=cell)
    x = torch.randn(3, 5, 4)
    h = encode(x, LENGTHS)
    assert h.shape == (3, 5, 6)
    for i, length in enumerate(LENGTHS.tolist()):
        alone, _ = encode.cell(x[i : i + 1, :length].flip(1))
        torch.testing.assert_close(h[i, :length], alone[0].flip(0))


def test_what_lies_beyond_the_end_and_before_t_does_not_count():
    encode = Backward(4, 6)
    x = torch.randn(3, 5, 4)
    h = encode(x, LENGTHS)
    padded = x.clone()
    for i, length in enumerate(LENGTHS.tolist()):
        padded[i, length:] = 100.0
    other = encode(padded, LENGTHS)
    for i, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(h[i, :length], other[i, :length])
    past = x.clone()
    past[0, :2] = 7.0
    torch.testing.assert_close(encode(past, LENGTHS)[0, 2:], h[0, 2:])
    assert not torch.allclose(encode(past, LENGTHS)[0, 0], h[0, 0])


def test_events_of_any_shape_and_type():
    encode = Backward(6, 4)
    x = torch.ones(3, 5, 2, 3, dtype=torch.long)
    assert encode(x, LENGTHS).shape == (3, 5, 4)
    assert Backward(1, 4)(torch.zeros(3, 5), LENGTHS).shape == (3, 5, 4)
    assert Backward(6, 4).double()(x, LENGTHS).dtype == torch.float64


@pytest.mark.filterwarnings("ignore:The tensor attributes")  # of torch, for its own RNN
def test_it_is_exported_for_any_number_of_rows():
    encode = Backward(4, 6)
    rows = torch.export.Dim("rows", min=2, max=100)
    graph = torch.export.export(
        encode, (torch.randn(3, 5, 4), LENGTHS), dynamic_shapes=({0: rows}, {0: rows})
    ).module()
    x, lengths = torch.randn(7, 5, 4), torch.tensor([1, 2, 3, 4, 5, 5, 1])
    torch.testing.assert_close(graph(x, lengths), encode(x, lengths))


def test_a_gated_step_starts_between_identity_and_its_proposal():
    net = gated([(4,)], (8,), hidden=7)
    z = torch.randn(5, 4)
    body = net.body
    gate, proposed = body.gate(z), body.proposed(z)
    loc, scale = net(z).split(4, -1)
    torch.testing.assert_close(loc, (1 - gate) * z + gate * proposed)
    torch.testing.assert_close(scale, body.scale(proposed))
    nn.init.constant_(body.gate[-2].bias, -100.0)
    torch.testing.assert_close(net(z)[:, :4], z)


def test_a_gated_transition_takes_any_leading_dimensions():
    transition = pv.Normal(3, given=3, net=gated)
    assert transition(torch.zeros(2, 5, 3)).batch_shape == (2, 5)


@pytest.mark.parametrize(
    ("given", "out"),
    [([(4,), (2,)], (8,)), ([(4,)], (4,)), ([(2, 2)], (8,)), ([], (8,))],
)
def test_a_gated_step_of_other_shapes(given, out):
    with pytest.raises(ValueError, match="gated: expected one vector given"):
        gated(given, out)
