"""What one pass over data finds, in whichever block it lies."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.weights import rows as rows_module
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.rows import Preparation, Rows
from pyro_vae.weights.survey import Corners, Extremes, survey

N = 40


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of four rows of three numbers."""
    monkeypatch.setitem(rows_module.BLOCK, "cpu", 12)


def make(likelihood=pv.Normal):
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=likelihood(3, given=2),
        variational=pv.Normal(2, given=3, net=pv.masked(pv.networks.mlp)),
    )


def missing_normal(*shape, **options):
    return pv.missing(pv.Normal(*shape, **options))


def with_values(base, *changes):
    x = torch.full((N, 3), base)
    for row, value in changes:
        x[row, 1] = value
    return x


FAULTS = {
    "NaN in two blocks": (
        pv.Normal,
        with_values(0.0, (7, torch.nan), (33, torch.inf)),
        r"x holds 2 values .* in rows \[7, 33\]\.",
    ),
    "more rows than are named": (
        pv.Normal,
        with_values(0.0, *((row, torch.nan) for row in range(1, N, 5))),
        r"x holds 8 values .* in rows \[1, 6, 11, 16, 21\] and more\.",
    ),
    "a row of nothing": (
        missing_normal,
        with_values(0.0, (7, torch.nan)).index_fill(0, torch.tensor([30]), torch.nan),
        r"x: every value is missing in rows \[30\]",
    ),
    "infinite beside what is missing": (
        missing_normal,
        with_values(0.0, (7, torch.nan), (33, torch.inf)),
        r"x holds 1 values .* in rows \[33\]",
    ),
    "shares are of all rows": (
        pv.Bernoulli,
        with_values(0.0, (7, 0.5), (33, 0.5)),
        r"1\.67 % of its values are strictly between 0 and 1",
    ),
    "ends are of all rows": (
        pv.Poisson,
        with_values(2.0, (7, -3.0), (33, 9.0)),
        r"0\.833 % of its values are not a count; they run from -3 to 9",
    ),
    "fractions of counts": (pv.Poisson, with_values(2.0, (33, 2.5)), "0.833 % .* not a count"),
    "the edge": (pv.Beta, with_values(0.5, (33, 0.0)), r"at row 33 of x: .*touch the edge"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_found_in_any_block(case):
    likelihood, x, words = FAULTS[case]
    with pytest.raises(ValueError, match=words):
        check_data(make(likelihood), (x,))


GOOD = {
    "reals": (pv.Normal, torch.randn(N, 3)),
    "zeros and ones": (pv.Bernoulli, torch.rand(N, 3).round()),
    "truth values": (pv.Bernoulli, torch.rand(N, 3) > 0.5),
    "counts": (pv.Poisson, torch.arange(3.0 * N).reshape(N, 3)),
    "bytes": (pv.Poisson, torch.full((N, 3), 255, dtype=torch.uint8)),
    "fractions": (pv.Beta, torch.rand(N, 3).clamp(0.1, 0.9)),
    "gaps": (missing_normal, with_values(0.0, (7, torch.nan), (33, torch.nan))),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_fits_passes(case):
    likelihood, x = GOOD[case]
    (checked,) = check_data(make(likelihood), (x,))
    assert torch.equal(checked.nan_to_num(), x.nan_to_num())


def test_extremes_are_those_of_all_rows_at_once():
    torch.manual_seed(0)
    x = torch.randn(N, 3).round(decimals=1)
    x[20, 2] = torch.nan
    extremes = Extremes()
    for start in range(0, N, 4):
        extremes.add(start, x[start : start + 4], Corners(x[start : start + 4]))
    low, high = x.nan_to_num(torch.inf).argmin(0), x.nan_to_num(-torch.inf).argmax(0)
    expected = torch.cat([torch.tensor([0, 1, 20]), low, high]).unique()
    assert extremes.list_rows().tolist() == expected.tolist()


def test_a_wide_datum_has_few_extreme_rows_with_the_ends_among_them(monkeypatch):
    monkeypatch.setattr("pyro_vae.weights.blocks.KEPT", 4 * 100)
    x = torch.rand(N, 100)
    x[31, 5], x[35, 6] = -1.0, 2.0
    extremes = Extremes()
    extremes.add(0, x, Corners(x))
    rows = extremes.list_rows().tolist()
    assert {0, 1, 31, 35} <= set(rows) and len(rows) <= 4 + 6


def test_a_transform_sees_each_row_and_what_it_makes_is_checked():
    pair, x = make(pv.Bernoulli), torch.rand(N, 3)
    plain = torch.device("cpu"), torch.float32
    survey(pair, Rows((x,), Preparation(*plain, torch.bernoulli)))
    for ruin, words in (
        (lambda values: values.clamp(max=0.5), "strictly between 0 and 1"),
        (
            lambda values: values / 0.0,
            r"x holds 12 values .* This x is what transform= re",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            survey(pair, Rows((x,), Preparation(*plain, ruin)))


class Picky(nn.Module):
    """A pair that has something to say about each row."""

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample(
                "x", dist.Normal(z.unsqueeze(-1), 1.0).expand([len(x), 3]).to_event(1), obs=x
            )

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(0.0, 1.0))


class PickyPair(Picky, ChecksData):
    def check_data(self, x):
        if (x > 5).any():
            raise ValueError(f"x: too large in row {int((x > 5).any(1).nonzero()[0])}")


def test_a_pair_is_asked_about_each_block():
    with pytest.raises(ValueError, match=r"in row 1 \(rows are counted from row 32\)"):
        check_data(PickyPair(), (with_values(0.0, (33, 9.0)),))


class Totals(Picky):
    """Counts out of a total that each row has for itself."""

    def model(self, x, total):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            p = dist.Binomial(total.unsqueeze(-1), logits=z.unsqueeze(-1).expand(-1, 3))
            pyro.sample("x", p.to_event(1), obs=x)

    def guide(self, x, total):
        super().guide(x)


def test_rows_are_compared_with_their_own_bounds():
    total = torch.arange(N).float() + 1
    x = total[:, None].expand(N, 3).clone()
    check_data(Totals(), (x, total))
    x[20] += 1
    with pytest.raises(ValueError, match="x lies outside the support of Binomial"):
        check_data(Totals(), (x, total))


def test_zeros_and_ones_are_drawn_of_the_first_block_alone(monkeypatch):
    drawn, draw = [], torch.bernoulli
    monkeypatch.setattr(torch, "bernoulli", lambda x: drawn.append(len(x)) or draw(x))
    prepare = Preparation(torch.device("cpu"), None, torch.bernoulli)
    survey(make(pv.Normal), Rows((torch.rand(N, 3),), prepare))
    # the first block, and the rows with extreme values at the end
    assert drawn[0] == 4 and len(drawn) == 2


def test_what_is_no_probability_in_a_later_block_is_drawn_and_refused():
    prepare = Preparation(torch.device("cpu"), None, torch.bernoulli)
    with pytest.raises(RuntimeError, match="Expected p_in"):
        survey(make(pv.Bernoulli), Rows((with_values(0.5, (30, 1.5)),), prepare))
