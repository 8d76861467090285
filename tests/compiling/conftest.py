"""Data for the tests of compiling."""

import pytest
import torch


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((9, 5), 0.4))
