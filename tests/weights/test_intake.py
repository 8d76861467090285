"""Data and pairs that are admitted, as what, and what is refused with the cure."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyro_vae as pv
from pyro_vae.diagnostics import log_weights
from pyro_vae.weights.intake import (
    admit,
    as_tensors,
    check_data,
    find_device,
    find_precision,
)
from pyro_vae.weights.survey import takes_missing
from pyro_vae.weights.weights import weigh
from tests.oracles import LinearGaussian, linear_gaussian


def make_vae(likelihood=None):
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=likelihood or pv.Normal(3, given=2),
        variational=pv.Normal(2, given=3, net=pv.masked(pv.networks.mlp)),
    )


def make_bare(world: LinearGaussian):
    """The model and the posterior of a linear-Gaussian world, without parameters."""
    covariance = world.covariance

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(world.w.shape[1]), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ world.w.T + world.b, world.s).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            mean = (x - world.b) @ world.to_mean.T
            pyro.sample("z", dist.MultivariateNormal(mean, covariance))

    return pv.Pair(model, guide)


def in_single(world):
    return LinearGaussian(world.w.float(), world.b.float(), world.s)


# Tensors


def test_arrays_become_tensors_in_the_precision_of_the_pair():
    vae = make_vae()
    x, labels, flags = as_tensors(vae, (np.zeros((4, 3)), np.arange(4), np.ones(4, dtype=bool)))
    assert (x.dtype, labels.dtype, flags.dtype) == (torch.float32, torch.int64, torch.bool)
    (x,) = as_tensors(vae.double(), (torch.zeros(4, 3),))
    assert x.dtype is torch.float64


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_pair_without_parameters_takes_data_in_their_own_precision(precision):
    pair = make_bare(linear_gaussian())
    assert find_precision(pair) is None
    (x,) = as_tensors(pair, (torch.zeros(4, 6, dtype=precision),))
    assert x.dtype is precision


BAD_ROWS = torch.zeros(9, 3)
BAD_ROWS[[1, 2, 3, 4, 5, 7], 0] = torch.inf


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ((), ValueError, "x: expected data, got none"),
        (([[1.0]],), TypeError, r"x: expected a tensor \[n, \*event\], got list"),
        ((np.array(["a"]),), TypeError, "x: expected a tensor .*got ndarray"),
        ((torch.zeros(2, 3) + 0j,), TypeError, "x: expected real numbers, got complex ones"),
        ((torch.zeros(2, 3).to_sparse(),), ValueError, r"x: expected a dense .* x.to_dense"),
        ((torch.zeros(0, 3),), ValueError, r"x is empty: .* got shape \[0, 3\]"),
        ((torch.tensor(1.0),), ValueError, r"x is empty: .* got shape \[\]"),
        (
            (torch.zeros(4, 3), torch.zeros(5)),
            ValueError,
            r"data\[1\]: expected as many rows as x, 4, got 5",
        ),
        (
            (torch.full((4, 3), torch.nan),),
            ValueError,
            r"x holds 12 values .* in rows \[0, 1, 2, 3\]\. Remove .*likelihood=pv\.missing",
        ),
        (
            (BAD_ROWS,),
            ValueError,
            r"x holds 6 values .* \[1, 2, 3, 4, 5\] and more\. Remove those rows, or fill the "
            r"values in\.$",
        ),
        (
            (torch.zeros(2, 3), torch.tensor([0.0, torch.nan])),
            ValueError,
            r"data\[1\] holds 1 values .* in rows \[1\]",
        ),
    ],
)
def test_what_is_no_data_is_refused(data, error, words):
    with pytest.raises(error, match=words):
        check_data(make_vae(), data)


def test_missing_values_are_admitted_to_a_likelihood_that_takes_them():
    vae = make_vae(pv.missing(pv.Normal(3, given=2)))
    x = torch.zeros(4, 3)
    x[1, 2] = torch.nan

    assert takes_missing(vae) and not takes_missing(make_vae())
    assert check_data(vae, (x,))[0].isnan().sum() == 1
    x[3] = torch.nan
    with pytest.raises(ValueError, match=r"x: every value is missing in rows \[3\]"):
        check_data(vae, (x,))


# Data


@pytest.mark.parametrize(
    ("likelihood", "x", "error", "words"),
    [
        (pv.Normal(3, given=2), torch.zeros(5, 3).long(), TypeError, "x is made of integers"),
        (
            pv.Normal(3, given=2),
            torch.zeros(5, 1, 3),
            ValueError,
            r"Reshape it: x\.reshape\(-1, 3\)",
        ),
        (pv.Bernoulli(3, given=2), torch.rand(5, 3), ValueError, "outside the support of Bernou"),
        (pv.Normal(3, given=2), 1e30 * torch.eye(3), ValueError, "it holds 1e.30, .* order one"),
        (pv.Beta(3, given=2), torch.eye(3), ValueError, "at row 0 of x: .*touch the edge"),
    ],
)
def test_data_that_do_not_fit_the_likelihood_are_refused(likelihood, x, error, words):
    with pytest.raises(error, match=words):
        check_data(make_vae(likelihood), (x,))


def test_all_rows_are_compared_with_the_support():
    x = torch.zeros(10_000, 3)
    x[-1, 1] = 0.5
    with pytest.raises(ValueError, match=r"0\.00333 % of its values are strictly between"):
        check_data(make_vae(pv.Bernoulli(3, given=2)), (x,))


def test_checks_leave_mode_and_store_as_they_were():
    vae = make_vae()
    vae.prior.eval()
    check_data(vae, (torch.zeros(5, 3),))
    assert vae.training and not vae.prior.training
    assert not list(pyro.get_param_store().keys())


# Pairs


def test_a_pair_is_admitted_with_its_data_and_the_random_state_is_left_alone():
    vae, x = make_vae(), torch.zeros(5, 3)
    torch.manual_seed(1)
    check_data(vae, (x,))
    expected = torch.get_rng_state()

    torch.manual_seed(1)
    (found,) = admit(vae, (x,))
    assert torch.equal(found, x)
    assert torch.equal(torch.get_rng_state(), expected)


def test_data_go_where_the_parameters_lie():
    meta = torch.device("meta")
    assert find_device(make_vae().to(meta), torch.device("cpu")) == meta
    assert find_device(make_bare(linear_gaussian()), meta) == meta


def test_a_pair_without_a_weight_per_datum_is_refused():
    def guide(x):
        pyro.sample("mean", dist.Normal(0.0, 1.0))

    def model(x):
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    with pytest.raises(ValueError, match="no weight per datum: site 'mean' of the model is out"):
        admit(pv.Pair(model, guide), (torch.zeros(4),))


def test_a_plate_of_a_fixed_size_is_refused_with_its_cure():
    def model(x):
        with pyro.plate("rows", 7):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None] + torch.zeros(3), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("rows", x.shape[0]):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"'rows'.* its size, pyro.plate\('data', x.shape\[0\]\)"):
        admit(pv.Pair(model, guide), (torch.zeros(7, 3),))


def test_a_pair_that_mixes_draws_is_refused():
    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.cumsum(0), 1.0), obs=x)

    with pytest.raises(ValueError, match=r"no weight per datum: site 'x' .* is scored otherwise"):
        admit(pv.Pair(model, guide), (torch.zeros(4),))


# Precision


def test_a_pair_without_parameters_is_weighed_in_the_precision_of_float64_data():
    world = linear_gaussian()
    x = world.sample(50)
    log_w = log_weights(make_bare(world), x, num_samples=20)

    assert log_w.dtype is torch.float64
    assert (log_w - world.log_evidence(x)).abs().max() < 1e-9


def test_float32_data_stay_float32():
    world = linear_gaussian()
    x, pair = world.sample(50).float(), make_bare(in_single(world))
    data = admit(pair, (x,))

    assert data[0].dtype is torch.float32
    assert {term.dtype for term in weigh(pair, data, 3)[:3]} == {torch.float32}
    error = log_weights(pair, x, num_samples=3) - world.log_evidence(x.double())
    assert 1e-9 < error.abs().max() < 1e-3


class Masked(nn.Module):
    """A pair whose y is known where a flag says so, and may be anything elsewhere."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))

    def model(self, x, y, is_known):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            with poutine.mask(mask=is_known):
                pyro.sample("y", dist.Bernoulli(logits=z), obs=y)

    def guide(self, x, y, is_known):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(self.loc, 1.0))


def test_what_a_mask_hides_may_lie_outside_the_support():
    x, is_known = torch.randn(6), torch.tensor([True, True, True, False, True, False])
    y = torch.tensor([0.0, 1.0, 1.0, 7.0, 0.0, -1.0])
    admit(Masked(), (x, y, is_known))
    y[4] = 7.0
    with pytest.raises(ValueError, match="y lies outside the support of Bernoulli"):
        admit(Masked(), (x, y, is_known))
