"""Which covariates each part is given, by their shapes; and draws for chosen ones."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.pairs.covariates import Covariates
from tests.oracles import affine, within

QUIET = {"progress": False}


def parts(p=(), lik=(), q=()):
    return {
        "prior": (pv.Normal(2, given=list(p)) if p else pv.StandardNormal(2), 0),
        "likelihood": (pv.Normal(3, given=[2, *lik]), 1),
        "variational": (pv.Normal(2, given=[3, *q]), 1),
    }


@pytest.mark.parametrize(
    ("declared", "shapes", "places"),
    [
        (((), (), ()), [], ([], [], [])),
        (((), (4,), (4,)), [(4,)], ([], [0], [0])),
        (((5,), (4, 5), (4,)), [(4,), (5,)], ([1], [0, 1], [0])),
        (((), (4, 4), (4, 4)), [(4,), (4,)], ([], [0, 1], [0, 1])),
        (((5,), (4, 5, 6), (4, 6)), [(4,), (5,), (6,)], ([1], [0, 1, 2], [0, 2])),
    ],
)
def test_each_part_has_a_choice_in_order(declared, shapes, places):
    covariates = Covariates(parts(*declared))
    assert covariates.shapes == shapes
    assert tuple(covariates.places.values()) == places
    given = tuple(torch.full((1, *shape), float(i)) for i, shape in enumerate(shapes))
    for role, chosen in zip(covariates.places, places, strict=True):
        assert [int(c.flatten()[0]) for c in covariates.choose(role, given)] == chosen


def test_covariates_that_no_part_has_all_of_are_named():
    declared = parts(lik=(4,), q=(5,))
    with pytest.raises(ValueError, match=r"variational: it is given \[\(5,\)\].*\[\(4,\)\]"):
        Covariates(declared)
    assert Covariates(declared, [(4,), (5,)]).places == {
        "prior": [],
        "likelihood": [0],
        "variational": [1],
    }


def test_shapes_that_do_not_tell():
    with pytest.raises(ValueError, match=r"prior: .* cannot be told from the shapes"):
        Covariates(parts((4,), (4, 4), (4, 4)))
    with pytest.raises(ValueError, match="in their order"):
        Covariates(parts((), (4, 5), (5, 4)))


def conditional():
    """z ~ N(Mc, I), x ~ N(z + Nc, I), q the posterior: x given c is N((M + N) c, 2 I)."""
    g = torch.Generator().manual_seed(7)
    m, n = (torch.randn(2, 2, generator=g, dtype=torch.float64) for _ in range(2))
    zero, eye = torch.zeros(2).double(), torch.eye(2).double()

    class Both(torch.nn.Module):
        def __init__(self, first, second):
            super().__init__()
            self.layer = affine(torch.cat([first, second], 1), zero)

        def forward(self, a, c):
            return self.layer(torch.cat([a, c], -1))

    pair = pv.VAE(
        prior=pv.Normal(2, given=2, net=affine(m, zero), scale=1.0),
        likelihood=pv.Normal(2, given=[2, 2], net=Both(eye, n), scale=1.0),
        variational=pv.Normal(
            2, given=[2, 2], net=Both(eye / 2, (m - n) / 2), scale=torch.tensor(0.5).sqrt().item()
        ),
    ).double()
    return pair, m + n


def test_weights_are_of_x_given_c():
    pair, to_mean = conditional()
    x, c = torch.randn(2, 5, 2).double()
    truth = torch.distributions.Normal(c @ to_mean.T, 2**0.5).log_prob(x).sum(-1)
    log_w = pv.diagnostics.log_weights(pair, x, c, num_samples=3)
    torch.testing.assert_close(log_w, truth.expand(3, 5), rtol=1e-6, atol=1e-6)


def test_draws_for_chosen_covariates():
    pair, to_mean = conditional()
    c = torch.tensor([1.0, -2.0]).double()
    x = pv.simulate(pair, 20_000, given=c)["x"]
    assert within(x.mean(0), to_mean @ c, torch.full((2,), (2 / 20_000) ** 0.5).double())
    rows = torch.randn(4, 2).double()
    torch.manual_seed(1)
    first = pv.simulate(pair, 4, given=rows)["x"]
    torch.manual_seed(1)
    assert torch.equal(first, pv.simulate(pair, torch.zeros(4, 2).double(), rows)["x"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], r"given: expected 1 covariate\(s\) of shapes \[\(2,\)\], got 0"),
        (torch.zeros(3), r"given: expected .* shape \(5, 2\), or \(2,\) for all draws, got \(3,\)"),
        (torch.zeros(4, 2), r"got \(4, 2\)"),
        ([torch.zeros(2), torch.zeros(2)], "got 2"),
    ],
)
def test_bad_chosen_covariates(given, words):
    with pytest.raises(ValueError, match=words):
        pv.simulate(conditional()[0], 5, given=given)


def test_a_template_has_its_covariates_with_it():
    pair, _ = conditional()
    with pytest.raises(ValueError, match=r"given: .*template"):
        pv.simulate(pair, torch.zeros(5, 2).double(), given=torch.zeros(2))


X = torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ((X,), TypeError, r"expected x and 1 covariate\(s\) of shapes \[\(2,\)\], got x and 0"),
        ((X, X, X), TypeError, "got x and 2"),
        ((X, X[:2]), ValueError, r"data\[1\]: expected as many rows as x, 3, got 2"),
        ((X, X * torch.nan), ValueError, r"data\[1\] holds 6 values that are NaN"),
        ((X, torch.zeros(3, 4)), ValueError, r"covariate .*\(2,\).*\(4,\)"),
        ((X, [1, 2, 3]), TypeError, r"data\[1\]: expected a tensor"),
    ],
)
def test_bad_covariates_are_refused_before_training(data, error, words):
    pair, _ = conditional()
    with pytest.raises(error, match=words):
        pv.fit(pair, *data, epochs=1, **QUIET)
    with pytest.raises(error, match=words):
        pv.diagnostics.log_weights(pair, *data, num_samples=2)
