"""Random states come back, and are left alone."""

import torch

from pyro_vae.training.randomness import EpochStart, RandomStates, fork

CPU = torch.device("cpu")


def test_draws_in_a_fork_are_free():
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    with fork(CPU):
        torch.manual_seed(8)
        torch.randn(5)
    assert torch.equal(torch.randn(2), expected)


def test_random_states_come_back():
    states = RandomStates(CPU)
    saved = states.pack()
    expected = torch.randn(3)
    states.unpack(saved, "a file")
    assert torch.equal(torch.randn(3), expected)


def test_the_draws_of_an_epoch_are_drawn_again():
    start = EpochStart(None)
    expected = torch.randperm(9)
    with fork(CPU):
        start.recall()
        assert torch.equal(torch.randperm(9), expected)


def test_the_order_of_a_loader_comes_back():
    generator = torch.Generator().manual_seed(1)
    start = EpochStart(generator)
    expected = torch.randperm(9, generator=generator)

    other = torch.Generator().manual_seed(2)
    EpochStart(other).unpack(start.pack(), "a file")
    assert torch.equal(torch.randperm(9, generator=other), expected)
