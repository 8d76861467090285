import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.diagnostics.templates import (
    count_rows,
    find_observed_arguments,
    make_templates,
)
from tests.oracles import linear_gaussian


def test_a_number_is_a_template_of_as_many_rows():
    (x,), (few,) = make_templates(linear_gaussian().pair(), (50,), 50)
    assert x.shape == (50, 6) and few.shape == (2, 6) and x.dtype == torch.float64
    assert x.stride(0) == 0, "it takes no memory"


def test_a_template_is_kept_with_its_covariates():
    x, c = torch.randn(20), torch.arange(20.0)
    data, few = make_templates(pv.Pair(lambda x, c: None, lambda x, c: None), (x, c), 20)
    assert data[0] is x and data[1] is c
    assert torch.equal(few[1], c[:2])


def test_rows_are_counted_or_refused():
    assert count_rows((torch.zeros(12, 3),)) == 12 and count_rows((100,)) == 100
    with pytest.raises(ValueError, match="x: expected a template"):
        count_rows(())
    with pytest.raises(ValueError, match="ten rows or more to simulate"):
        count_rows((torch.zeros(9),))


def model(x, c):
    with pyro.plate("data", x.shape[0]):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("first", dist.Normal(z + c, 1.0), obs=x)


def guide(x, c):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal(x, 1.0))


def test_arguments_that_are_observed_are_found_with_their_sites():
    few = (torch.zeros(2), torch.ones(2))
    assert find_observed_arguments(pv.Pair(model, guide), few) == {0: ["first"]}


def test_an_argument_that_is_not_observed_as_it_is():
    pair = pv.Pair(lambda x, c: model(2 * x, c), guide)
    with pytest.raises(ValueError, match="the model observes first, not one of its arguments"):
        find_observed_arguments(pair, (torch.zeros(2), torch.ones(2)))
