import importlib
import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

import pyro_vae as pv
from pyro_vae.diagnostics import latents
from pyro_vae.diagnostics.estimate import Estimate
from tests.oracles import (
    discrete_world,
    kl_of_tables,
    linear_gaussian,
    near,
    normal_pair,
    sequential_pair,
)

# the package exports the function under the name of its file
module = importlib.import_module("pyro_vae.diagnostics.latents")

# ---- the discrete world: everything is a table


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [0, 0, 1, 3, 3, 3, 4], [2]])
def test_in_the_discrete_world_everything_is_exact(rows):
    world = discrete_world()
    x = torch.tensor(rows)
    p_d = torch.bincount(x, minlength=5).double() / len(x)
    q = p_d[:, None] * world.q_z_given_x  # [x, z]
    q_z = q.sum(0)
    terms = [p_d[i].item() * kl_of_tables(world.q_z_given_x[i], world.p_z) for i in range(5)]

    split = latents(world.pair(), x)
    for estimate, value in (
        (split.kl, sum(terms)),
        (split.information, kl_of_tables(q, p_d[:, None] * q_z)),
        (split.marginal, kl_of_tables(q_z, world.p_z)),
    ):
        assert abs(estimate.value - value) < 1e-9 and estimate.stderr == 0
    assert abs(split.information.value + split.marginal.value - split.kl.value) < 1e-9
    means = world.q_z_given_x[x] @ torch.arange(3).double()
    assert torch.allclose(split.activity, means.var(correction=0).reshape(1))


def test_sampling_agrees_with_the_tables(monkeypatch):
    world = discrete_world()
    x = torch.tensor([0, 0, 1, 3, 3, 3, 4])
    exact = latents(world.pair(), x)
    monkeypatch.setattr(module, "enumerate_latent", lambda pair, data: None)
    found = latents(world.pair(), x, num_samples=4000)
    for name in ("kl", "information", "information_loo", "marginal"):
        estimate, truth = getattr(found, name), getattr(exact, name)
        assert estimate.stderr > 0 and near(estimate, truth.value)
    assert torch.allclose(found.activity, exact.activity, atol=0.01)


def test_impossible_values_of_a_discrete_latent_count_nothing():
    world = discrete_world()
    q = torch.eye(3).double()[torch.tensor([0, 0, 1, 1, 2])]
    found = latents(world._replace(q_z_given_x=q).pair(), torch.tensor([0, 2, 4]))
    assert abs(found.information.value - math.log(3)) < 1e-12
    # torch keeps a probability of zero at its rounding error
    assert found.information_loo.value > 30


# ---- normals


def test_the_linear_gaussian_world_at_the_posterior():
    world = linear_gaussian(d=2)
    x = world.sample(300)
    found = latents(world.pair(), x, num_samples=20)
    mean = (x - world.b) @ world.to_mean.T
    prior = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    assert near(found.kl, kl_divergence(MultivariateNormal(mean, world.covariance), prior).mean())
    assert abs(found.kl.value - found.information.value - found.marginal.value) < 1e-9
    assert 0 <= found.information.value <= math.log(300)

    # the mean over data of q(z|x), on a grid
    axis = torch.linspace(-6, 6, 121).double()
    z = torch.cartesian_prod(axis, axis)
    log_q = MultivariateNormal(mean, world.covariance).log_prob(z[:, None]).logsumexp(1) - math.log(
        300
    )
    marginal = (log_q.exp() * (log_q - prior.log_prob(z))).sum() * (axis[1] - axis[0]) ** 2
    assert near(found.marginal, marginal)
    # its q has correlated dimensions
    assert found.total_correlation is None and found.dimension_kl is None
    assert torch.allclose(found.activity, mean.var(0, correction=0))
    # the population's: q(z) is the prior, so the two values enclose its information
    information = -0.5 * world.covariance.logdet().item()
    assert found.information.value - 0.2 < information < found.information_loo.value + 0.2


def test_information_is_below_and_leave_one_out_above_the_population_on_average():
    world = linear_gaussian(d=2)
    runs = [latents(world.pair(), world.sample(8), num_samples=50) for _ in range(60)]
    inside = torch.tensor([run.information.value for run in runs])
    outside = torch.tensor([run.information_loo.value for run in runs])
    truth = -0.5 * world.covariance.logdet().item()
    assert (
        inside.mean() + 5 * inside.std() / 60**0.5
        < truth
        < outside.mean() - 5 * outside.std() / 60**0.5
    )


@pytest.mark.parametrize("family", [pv.Normal, pv.Laplace, pv.StudentT])
def test_total_correlation_and_dimensions_on_a_grid(family):
    options = {"df": torch.tensor(5.0)} if family is pv.StudentT else {}
    pair = normal_pair(
        torch.tensor([[1.0, 0.5], [1.0, -0.2]]), 0.4, family(2, loc=0.0, scale=1.0, **options)
    )
    x = torch.randn(40, 2).double()
    found = latents(pair, x, num_samples=200)
    axis = torch.linspace(-7, 7, 701).double()
    step = axis[1] - axis[0]
    mean = pair.variational(x).mean
    q = dist.Normal(mean, 0.4).log_prob(axis[:, None, None]).exp()  # [g, n, 2]
    each = q.mean(1)
    joint = torch.einsum("an,bn->ab", q[:, :, 0], q[:, :, 1]) / 40
    with torch.no_grad():
        log_p = pair.prior().base_dist.log_prob(axis[:, None].expand(-1, 2))
        correlation = (joint * (joint / (each[:, None, 0] * each[None, :, 1])).log()).nan_to_num(
            0
        ).sum() * step**2
        dimension = (each * (each.log() - log_p)).nan_to_num(0).sum(0) * step
    assert near(found.total_correlation, correlation)
    assert near(found.dimension_kl, dimension)
    parts = found.total_correlation.value + found.dimension_kl.value.sum().item()
    assert abs(parts - found.marginal.value) < 1e-9
    assert found.active.all()


def test_a_dead_latent_is_reported():
    pair = normal_pair(
        torch.tensor([[1.0, 0.5], [0.0, 0.0], [0.0, 1.0]]), torch.tensor([0.3, 1.0, 0.3])
    )
    found = latents(pair, torch.randn(100, 2))
    assert found.active.tolist() == [True, False, True]
    assert near(Estimate(found.dimension_kl.value[1], 0.0), 0.0)
    assert any("1 of 3 dimensions of z are inactive: 1" in warning for warning in found.warnings())
    assert "2 of 3" in str(found)


def test_a_guide_that_ignores_x_says_nothing_about_it():
    pair = normal_pair(torch.zeros(2, 2), 1.0)
    found = latents(pair, torch.randn(50, 2))
    assert abs(found.information.value) < 1e-9 and abs(found.kl.value) < 1e-9
    assert not found.active.any()


def test_data_far_apart_reach_the_ceiling_and_so_do_pairs_of_them():
    pair = normal_pair(torch.eye(2), 0.01)
    x = 10 * torch.arange(40.0).reshape(20, 2)
    found = latents(pair, x)
    assert abs(found.information.value - math.log(20)) < 1e-6
    assert any("near its ceiling" in warning for warning in found.warnings())
    twice = latents(pair, torch.cat([x, x]))
    assert abs(twice.information.value - math.log(20)) < 1e-6
    assert abs(twice.ceiling - math.log(20)) < 1e-9 and (twice.count, twice.distinct) == (40, 20)
    (said,) = twice.warnings()
    assert "near its ceiling 3.00, the entropy of 20 distinct rows of 40" in said
    assert "no upper bound" in str(twice)
    assert abs(twice.information_loo.value - math.log(39)) < 1e-6
    assert not any(
        "near its ceiling" in warning for warning in latents(pair, x[:1].repeat(20, 1)).warnings()
    )


def test_near_the_ceiling_the_kl_term_is_the_lower_upper_bound():
    """Leave-one-out finds thousands of nats there. z says at most KL(q(z|x) ‖ p(z)) about x."""
    pair = normal_pair(torch.eye(2), 0.01)
    found = latents(pair, torch.randn(30, 2))
    assert found.information_loo.value > 100 and found.upper is found.kl
    (said,) = found.warnings()
    assert f"up to {found.kl.value:.2f}" in said and "above the KL term" in str(found)
    wide = latents(normal_pair(torch.eye(2), 1.0), 3 + torch.randn(30, 2))
    assert wide.upper is wide.information_loo
    assert "an upper bound for the population)" in str(wide)


def test_rows_repeat_where_all_that_belongs_to_them_does():
    x = torch.tensor([[1.0, torch.nan], [1.0, torch.nan], [2.0, 3.0]])
    assert module.count_repeats((x,)) == [2, 1]
    assert module.count_repeats((x, torch.tensor([0, 1, 1]))) == [1, 1, 1]
    assert module.count_repeats((torch.tensor([True, False, True]),)) == [2, 1]


def test_standard_errors_are_what_they_say():
    pair = normal_pair(torch.tensor([[1.0, 0.5], [1.0, -0.2]]), 0.4)
    x = torch.randn(20, 2)
    runs = [latents(pair, x, num_samples=20) for _ in range(200)]
    for field in ("kl", "information", "information_loo", "marginal", "total_correlation"):
        spread = torch.tensor([getattr(run, field).value for run in runs]).std()
        claimed = torch.tensor([getattr(run, field).stderr for run in runs]).square().mean().sqrt()
        assert abs(spread / claimed - 1) < 5 / math.sqrt(2 * 200)


def test_numbers_for_a_json_file():
    pair = normal_pair(torch.eye(2), 0.5)
    notes = json.loads(json.dumps(latents(pair, torch.randn(20, 2)).as_dict()))
    assert notes["active"] == [True, True] and len(notes["dimension_kl"]["value"]) == 2


def test_one_datum_has_no_information():
    pair = normal_pair(torch.eye(2), 0.5)
    found = latents(pair, torch.ones(1, 2))
    assert found.information.value == 0 and found.ceiling == 0
    assert found.information_loo.value == math.inf
    assert abs(found.kl.value - found.marginal.value) < 1e-9
    str(found)


def test_latents_that_depend_on_each_other():
    x = torch.randn(60)
    pair = sequential_pair()
    found = latents(pair, x, num_samples=50)
    mean = torch.stack([0.4 * x, 0.32 * x], -1).double()
    q = MultivariateNormal(mean, torch.tensor([[0.36, 0.108], [0.108, 0.25 + 0.0324]]).double())
    p = MultivariateNormal(
        torch.zeros(2).double(), torch.tensor([[1.0, 0.5], [0.5, 0.89]]).double()
    )
    assert near(found.kl, kl_divergence(q, p).mean())
    axis = torch.linspace(-6, 6, 121).double()
    z = torch.cartesian_prod(axis, axis)
    log_q = q.log_prob(z[:, None]).logsumexp(1) - math.log(60)
    assert near(
        found.marginal, (log_q.exp() * (log_q - p.log_prob(z))).sum() * (axis[1] - axis[0]) ** 2
    )
    assert found.total_correlation is None
    assert found.activity.shape == (2,)
    assert torch.allclose(found.activity, mean.var(0, correction=0), atol=0.02)


@pytest.mark.parametrize(
    "variational",
    [
        pv.Flow(2, given=3, transforms=1),
        pv.Mixture(pv.Normal, 2, given=3, components=2),
        pv.LowRankNormal(2, given=3, rank=1),
        pv.Laplace((2, 1), given=3),
        pv.Normal((), given=3),
    ],
)
def test_any_family(variational):
    shape = variational.event_shape
    pair = pv.VAE(
        prior=pv.StandardNormal(shape),
        likelihood=pv.Bernoulli(3, given=shape),
        variational=variational,
    )
    found = latents(pair, torch.bernoulli(torch.full((20, 3), 0.5)), num_samples=20)
    assert abs(found.kl.value - found.information.value - found.marginal.value) < 1e-9
    assert -5 * found.information.stderr - 1e-6 <= found.information.value <= found.ceiling + 1e-6
    assert found.activity.shape == (math.prod(shape),)
    assert (found.dimension_kl is None) == (type(variational) not in (pv.Normal, pv.Laplace))


def test_a_learned_prior():
    q = pv.Normal(2, given=3)
    pair = pv.VAE(
        prior=pv.Vamp(q, torch.rand(4, 3)), likelihood=pv.Normal(3, given=2), variational=q
    )
    found = latents(pair, pair.prior.pseudo_inputs.data, num_samples=20)
    # its pseudo-inputs are the data, so q(z) is p(z)
    assert abs(found.marginal.value) < 1e-5
    assert found.dimension_kl is None


def test_a_prior_that_depends_on_the_data_is_refused():
    def model(x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(y, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x + y, 1.0))

    pair = pv.Pair(model, guide)
    with pytest.raises(ValueError, match=r"p\(z\) depends on the data"):
        latents(pair, torch.randn(5), torch.arange(5.0))
    assert latents(pair, torch.randn(5), torch.ones(5)).ceiling == math.log(5)


def test_arguments():
    pair = normal_pair(torch.eye(2), 0.5)
    with pytest.raises(ValueError, match="num_samples: expected a positive whole number"):
        latents(pair, torch.zeros(3, 2), num_samples=0)
    assert math.isinf(latents(pair, torch.zeros(3, 2), num_samples=1).kl.stderr)


@pytest.mark.parametrize("num_samples", [2.5, True, "ten"])
def test_num_samples_of_another_type(num_samples):
    pair = normal_pair(torch.eye(2), 0.5)
    with pytest.raises(TypeError, match="num_samples: expected a positive whole number"):
        latents(pair, torch.zeros(3, 2), num_samples=num_samples)


# ---- several latents, one by one


def upward_pair():
    """The guide draws a from x, and b from a alone. The model goes the other way."""

    def model(x):
        with pyro.plate("data", x.shape[0]):
            b = pyro.sample("b", dist.Normal(torch.zeros_like(x), 1.0))
            a = pyro.sample("a", dist.Normal(0.5 * b, 0.8))
            pyro.sample("x", dist.Normal(a, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(0.8 * x, 0.6))
            pyro.sample("b", dist.Normal(0.3 * a, 0.5))

    return pv.Pair(model, guide)


def adds_up(found):
    kl = sum(level.kl.value for level in found.levels.values())
    information = sum(level.information.value for level in found.levels.values())
    return abs(kl - found.kl.value) < 1e-6 and abs(information - found.information.value) < 1e-6


def test_the_first_level_knows_of_x_what_it_knows_alone_and_one_drawn_from_it_no_more():
    x = torch.randn(40)
    found = latents(upward_pair(), x, num_samples=50)
    axis = torch.linspace(-8, 8, 2001).double()
    q = dist.Normal(0.8 * x.double(), 0.6)
    aggregate = q.log_prob(axis[:, None]).logsumexp(1) - math.log(40)
    entropy = -(aggregate.exp() * aggregate).sum() * (axis[1] - axis[0])

    assert list(found.levels) == ["a", "b"] and adds_up(found)
    assert near(found.levels["a"].information, entropy - q.entropy().mean())
    assert near(found.levels["b"].information, 0.0)


def test_the_kl_of_a_level_is_the_closed_form_and_can_be_negative():
    x = torch.randn(40)
    found = latents(upward_pair(), x, num_samples=200)
    mean = 0.8 * x.double()
    # a ~ N(mean, 0.6²) and b ~ N(0.3 a, 0.5²): log q(a|x) - log p(a|b), and log q(b|a) - log p(b)
    squares = (0.85**2) * (mean**2 + 0.36) + 0.25 * 0.25
    first = math.log(0.8 / 0.6) - 0.5 + squares / (2 * 0.64)
    second = -math.log(0.5) - 0.5 + (0.09 * (mean**2 + 0.36) + 0.25) / 2

    assert near(found.levels["a"].kl, first.mean())
    assert near(found.levels["b"].kl, second.mean())
    assert adds_up(found)


@pytest.mark.parametrize("order", ["bottom_up", "top_down"])
def test_the_levels_of_a_hierarchy(order):
    wide, narrow = pv.Normal(3, given=4), pv.Normal(2, given=3)
    if order == "top_down":
        wide, narrow = pv.Normal(2, given=4), pv.Normal(3, given=[4, 2])
    pair = pv.HierarchicalVAE(
        priors=[pv.StandardNormal(2), pv.Normal(3, given=2)],
        likelihood=pv.Bernoulli(4, given=3),
        variationals=[wide, narrow],
        order=order,
    )
    found = latents(pair, torch.bernoulli(torch.full((20, 4), 0.5)), num_samples=5)

    assert list(found.levels) == (["z1", "z2"] if order == "bottom_up" else ["z2", "z1"])
    assert {name: len(level.active) for name, level in found.levels.items()} == {"z1": 3, "z2": 2}
    activity = torch.cat([level.activity for level in found.levels.values()])
    assert torch.equal(activity, found.activity) and adds_up(found)
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  z")] == list(found.levels)
    assert set(json.loads(json.dumps(found.as_dict()))["levels"]) == {"z1", "z2"}


def test_a_single_latent_has_no_levels():
    assert latents(normal_pair(torch.eye(2), 0.5), torch.randn(9, 2)).levels is None


def test_the_levels_in_pieces_are_those_of_one_piece(monkeypatch):
    pair, x = upward_pair(), torch.randn(30)
    torch.manual_seed(1)
    whole = latents(pair, x, num_samples=7)
    monkeypatch.setattr("pyro_vae.weights.blocks.KEPT", 500)
    torch.manual_seed(1)
    found = latents(pair, x, num_samples=7)
    for name, level in whole.levels.items():
        assert abs(level.information.value - found.levels[name].information.value) < 1e-5
        assert abs(level.kl.value - found.levels[name].kl.value) < 1e-5
