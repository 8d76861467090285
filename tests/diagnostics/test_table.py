import math
from dataclasses import replace
from types import SimpleNamespace

import torch

from pyro_vae.diagnostics.elbo import Elbo
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.diagnostics.table import (
    Row,
    list_elbo,
    list_evidence,
    list_gaps,
    list_latents,
    write_rows,
)


def estimate(*values):
    return Estimate(torch.tensor(values), torch.full((len(values),), 3.0))


def elbo():
    return Elbo(
        value=torch.tensor([-5.0, -7.0]),
        stderr=torch.tensor([3.0, 4.0]),
        reconstruction=estimate(-4.0, -5.0),
        kl=estimate(1.0, 2.0),
    )


def test_a_row_has_the_mean_and_both_errors():
    row = list_elbo(elbo())[0]
    assert (row.label, row.mean, row.stderr, row.spread) == ("ELBO", -6.0, 2.5, 1.0)


def test_the_first_equation_and_the_parts_of_its_gap():
    rows = list_evidence(estimate(-4.0, -6.0), elbo(), estimate(1.0, 1.0))
    assert [row.label for row in rows] == ["log p(x)", "  = ELBO", "  + KL(q(z|x) ‖ p(z|x))"]
    assert rows[0].mean - rows[1].mean == rows[2].mean
    gaps = SimpleNamespace(approximation=estimate(0.0, 0.5), amortisation=estimate(1.0, 0.5))
    assert [row.mean for row in list_gaps(gaps)] == [0.25, 0.75]


def test_the_latents_say_when_they_are_of_fewer_data():
    latents = SimpleNamespace(
        count=2,
        write_ceiling=lambda: "log N = 0.69",
        information=Estimate(0.5, 0.1),
        marginal=Estimate(1.0, 0.2),
    )
    information, marginal = list_latents(latents, 3)
    assert information.meaning.endswith("at most log N = 0.69, first 2 data")
    assert math.isnan(information.spread) and (marginal.mean, marginal.stderr) == (1.0, 0.2)
    assert list_latents(latents, 2)[0].meaning.endswith("log N = 0.69")


def test_an_empty_line_before_each_equation_and_none_trailing():
    rows = [Row("a", 1.0, 0.5, 0.1, ""), Row("  = b", -2.0, 0.25, 0.1, "what b is")]
    assert write_rows(rows) == [
        "",
        "a          1.0000 ± 0.5000",
        "  = b     -2.0000 ± 0.2500   what b is",
    ]


def test_sites_have_rows_of_their_own_where_there_are_several():
    sites = {"z2": estimate(0.5, 0.5), "z1": estimate(0.5, 1.5)}
    found = replace(elbo(), observed={"x": estimate(-4.0, -5.0)}, latent=sites)
    rows = list_elbo(found)
    labels = [row.label.strip() for row in rows]

    assert labels[2:] == ["- KL(q(z|x) ‖ p(z))", "= log q/p of z2", "+ log q/p of z1"]
    assert rows[3].mean + rows[4].mean == rows[2].mean
    assert rows[3].meaning == "what z2 costs, given what it depends on"
