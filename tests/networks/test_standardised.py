"""Outputs are standardised by statistics that depend on no draw and on no other datum."""

from functools import partial

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.networks.standardised import EPSILON, Standardise, standardised

SIZE = 4


def data(rows=200):
    return 3 + 2 * torch.randn(rows, SIZE) * torch.arange(1, SIZE + 1)


@pytest.mark.parametrize("by", ["running", "batch"])
def test_the_first_batch_is_standardised_exactly(by):
    x = data()
    y = Standardise(SIZE, by=by)(x)
    assert torch.allclose(y.mean(0), torch.zeros(SIZE), atol=1e-5)
    assert torch.allclose(y.var(0, unbiased=False), torch.ones(SIZE), atol=1e-3)


def test_running_statistics_are_averages_of_those_of_batches():
    part = Standardise(SIZE, momentum=0.5)
    batches = [data(20) for _ in range(3)]
    for x in batches:
        part(x)
    means = [x.mean(0) for x in batches]
    variances = [x.var(0, unbiased=False) for x in batches]
    for found, (a, b, c) in ((part.mean, means), (part.variance, variances)):
        assert torch.allclose(found, 0.5 * (0.5 * a + 0.5 * b) + 0.5 * c)
    assert part.batches == 3


def trained(by="running"):
    part = Standardise(SIZE, by=by)
    for _ in range(5):
        part(data())
    nn.init.normal_(part.bias)
    return part


def test_in_training_a_number_depends_on_no_other_datum():
    part, x = trained(), data(30)
    mean, variance = part.mean.clone(), part.variance.clone()
    y = part(x)
    truth = (x - mean) / (variance + EPSILON).sqrt() + part.bias
    assert torch.allclose(y, truth, atol=1e-5)
    assert not torch.equal(part.mean, mean)


@pytest.mark.parametrize("by", ["running", "batch"])
def test_outside_of_training_nothing_changes(by):
    part, x = trained(by), data(30)
    before = {name: value.clone() for name, value in part.state_dict().items()}
    part.eval()
    y = part(x)
    assert torch.allclose(torch.stack([part(x[i : i + 1])[0] for i in range(30)]), y, atol=1e-5)
    part.train()
    with torch.no_grad():
        assert torch.equal(part(x), y)
    assert all(torch.equal(before[name], value) for name, value in part.state_dict().items())


def find_gradient(part, x):
    x = x.clone().requires_grad_()
    (part(x) ** 3).sum().backward()
    return x.grad


def test_the_gradient_is_that_of_batch_normalisation():
    x = data(30)
    ours = Standardise(SIZE, by="batch")
    theirs = nn.BatchNorm1d(SIZE, eps=EPSILON)
    assert torch.allclose(find_gradient(ours, x), find_gradient(theirs, x), atol=1e-5)
    first = Standardise(SIZE, by="running")
    assert torch.allclose(find_gradient(first, x), find_gradient(theirs, x), atol=1e-5)
    # a shift of the whole batch changes nothing that the loss could lower
    gradient = find_gradient(trained(), x)
    assert gradient.sum(0).abs().max() < 1e-3 * gradient.abs().sum(0).min()


def test_a_batch_of_one_row_is_finite():
    part = Standardise(SIZE)
    x = data(1).requires_grad_()
    part(x).sum().backward()
    assert part(x).isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "draw"}, "by: expected 'running' or 'batch', got 'draw'"),
        ({"momentum": 2.0}, r"momentum: expected a finite number within \[0, 1\], got 2.0"),
    ],
)
def test_other_ways_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Standardise(SIZE, **options)


def test_any_network_can_be_standardised():
    small = partial(pv.networks.mlp, hidden=(5,))
    net = standardised(small)([(3,), (2,)], (6,))
    assert net(torch.randn(7, 5, 3), torch.randn(5, 2)).shape == (7, 5, 6)
    image = standardised(partial(pv.networks.conv, channels=(4,)))([(3,)], (1, 6, 6))
    assert image(torch.randn(5, 3)).shape == (5, 1, 6, 6)
    assert standardised(nn.Linear(3, 6), by="running")([(3,)], (6,))(torch.randn(5, 3)).shape


def build():
    torch.manual_seed(0)
    return pv.VAE(
        prior=pv.StandardNormal(3),
        likelihood=pv.Multinomial(7, given=3, net=pv.networks.topics, total_count=20),
        variational=pv.Normal(3, given=7, net=standardised(nn.Linear(7, 6, bias=False))),
    )


def test_compiled_steps_are_those_of_eager_code():
    """With the compiler's own choice of what is kept for the gradients, and what computed anew."""
    found = []
    for is_compiled in (False, True):
        vae = build()
        objective = pv.Objective(vae)
        loss = objective.forward
        if is_compiled:
            loss = CompiledLoss(loss, [objective], backend="eager")
        optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
        for seed in range(3):
            torch.manual_seed(seed)
            optimizer.zero_grad()
            loss(torch.poisson(torch.rand(9 - seed, 7) * 3)).backward()
            optimizer.step()
        found.append(vae.state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5)
