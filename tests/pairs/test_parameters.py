"""Each pair's parameters are its own, inside and outside Pyro's store."""

from functools import partial

import pyro
import pytest
import torch
from torch import nn

from pyro_vae.pairs.parameters import OwnParameters, find_modules, register


def test_inside_the_context_a_parameter_is_the_modules_own_and_the_store_is_untouched():
    own, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))
    pyro.param("p", other)
    with OwnParameters():
        assert pyro.param("p", own) is own
    assert pyro.param("p") is other
    assert OwnParameters.depth == 0


def test_within_it_nothing_is_registered():
    with OwnParameters():
        register(nn.Linear(1, 1), "a")
    assert list(pyro.get_param_store()) == []


def test_a_living_owner_keeps_its_name_and_a_dead_one_gives_it_up():
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    register(first, "a")
    with pytest.raises(ValueError, match=r"name='a'.*Linear\(\.\.\., name='a_2'\)"):
        register(second, "a")
    del first
    register(second, "a")
    assert pyro.get_param_store()["a$$$weight"] is second.weight


def test_other_names_are_left_alone():
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    register(first, "a")
    register(second, "ab")
    del first
    register(nn.Linear(2, 1), "a")
    assert pyro.get_param_store()["ab$$$weight"] is second.weight


class Owner(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1)

    def model(self, x):
        pass


def test_modules_are_found_where_a_function_is_refers_to_or_belongs_to_them():
    owner, net = Owner(), nn.Linear(1, 1)

    def model(x):
        return net(x)

    assert find_modules(owner, "model") == {"model": owner}
    assert find_modules(owner.model, "model") == {"Owner": owner}
    assert find_modules(partial(model), "model") == {"net": net}
    assert find_modules(len, "model") == {}
