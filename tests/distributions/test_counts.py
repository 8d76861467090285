"""Densities of counts: sums over all of them, and draws."""

import itertools

import pyro.distributions as dist
import pytest
import torch

from pyro_vae import distributions as ours
from tests.draws import assert_within_errors


def compositions(total, classes):
    return torch.tensor(
        [x for x in itertools.product(range(total + 1), repeat=classes) if sum(x) == total]
    ).double()


@pytest.mark.parametrize("total", [0, 1, 4])
def test_a_multinomial_sums_to_one_over_the_counts_of_any_total(total):
    logits, a = torch.randn(3).double(), torch.rand(3).double() + 0.1
    x = compositions(total, 3)
    for p in (
        ours.Multinomial(logits, torch.tensor(7)),
        ours.DirichletMultinomial(a, torch.tensor(7)),
    ):
        assert p.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-12)
    if total:
        theirs = dist.Multinomial(total, logits=logits), dist.DirichletMultinomial(a, total)
        torch.testing.assert_close(
            ours.Multinomial(logits, torch.tensor(1)).log_prob(x), theirs[0].log_prob(x)
        )
        torch.testing.assert_close(
            ours.DirichletMultinomial(a, torch.tensor(1)).log_prob(x), theirs[1].log_prob(x)
        )


@pytest.mark.parametrize("kind", [ours.Multinomial, ours.DirichletMultinomial])
def test_draws_of_counts_have_the_total_of_their_row(kind):
    total = torch.tensor([0, 3, 20])
    p = kind(torch.tensor([0.5, 1.5, 0.1, 2.0]).expand(3, 4), total)
    x = p.sample((8000,))

    assert (x.sum(-1) == total).all() and p.support.check(x).all()
    assert_within_errors(x, p.mean, floor=1e-6)
    small = x[:, 1, 0]
    rows = compositions(3, 4)
    truth = sum(
        kind(torch.tensor([0.5, 1.5, 0.1, 2.0]), total[1]).log_prob(r.float()).exp()
        for r in rows
        if r[0] == 0
    )
    assert_within_errors((small == 0).float(), truth, floor=1e-6)
    assert p.expand([2, 3]).sample().shape == (2, 3, 4)


def test_too_many_zeros_sum_to_one_at_any_gate():
    j = torch.arange(400.0).double()[:, None]
    gate = torch.tensor([-50.0, -1.0, 0.0, 3.0, 50.0]).double()
    a = torch.tensor(3.0).double()
    for p in (
        ours.ZeroInflatedNegativeBinomial(a, logits=a - 3, gate_logits=gate),
        dist.ZeroInflatedPoisson(a, gate_logits=gate),
    ):
        torch.testing.assert_close(p.log_prob(j).exp().sum(0), torch.ones(5).double())
