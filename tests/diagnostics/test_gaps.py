from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
import zuko

import pyro_vae as pv
from pyro_vae.diagnostics import grid_posterior, log_evidence
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.diagnostics.gaps import estimate_gap, inference_gaps, posterior_gap
from pyro_vae.weights import blocks
from tests.oracles import (
    affine,
    discrete_world,
    linear_gaussian,
    narrow_gaussian,
    two_in_a_chain,
    within,
)

TENSORS = ("approximation", "amortisation", "best_elbo")


def known(world, x):
    return Estimate(world.log_evidence(x), torch.zeros(len(x)).double())


def mean_field(world, shift=0.0, stretch=1.0):
    """The best mean-field q, with its means shifted and its scales stretched."""
    n, d = world.w.shape
    scale = stretch * world.s / world.m.diagonal().sqrt()
    return pv.VAE(
        prior=pv.StandardNormal(d),
        likelihood=pv.Normal(n, given=d, net=affine(world.w, world.b), scale=world.s),
        variational=pv.Normal(
            d, given=n, net=affine(world.to_mean, shift - world.to_mean @ world.b), scale=scale
        ),
    ).double()


def by_hand(world, shift=0.0, stretch=1.0):
    """The same as Pyro functions, with a latent of two sites."""
    d = world.w.shape[1]
    scale = stretch * world.s / world.m.diagonal().sqrt()
    zero = torch.zeros(d).double()

    def model(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(zero[:1], 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(zero[1:], 1.0).to_event(1))
            mean = torch.cat([a, b], -1) @ world.w.T + world.b
            pyro.sample("x", dist.Normal(mean, world.s).to_event(1), obs=x)

    def guide(x):
        mean = (x - world.b) @ world.to_mean.T + shift
        with pyro.plate("data", x.shape[0]):
            pyro.sample("a", dist.Normal(mean[..., :1], scale[:1]).to_event(1))
            pyro.sample("b", dist.Normal(mean[..., 1:], scale[1:]).to_event(1))

    return pv.Pair(model, guide)


def closed_forms(world, shift, stretch):
    m = world.m
    delta = torch.full((len(m),), shift).double()
    ratio = torch.full((len(m),), stretch**2).double()
    approximation = 0.5 * (m.diagonal().log().sum() - m.logdet())
    return approximation, 0.5 * delta @ m @ delta / world.s**2 + 0.5 * (
        ratio - 1 - ratio.log()
    ).sum()


@pytest.mark.parametrize("make", [mean_field, by_hand])
@pytest.mark.parametrize("shift, stretch", [(0.0, 1.0), (0.3, 1.5), (1.0, 0.5)])
def test_both_gaps_are_their_closed_forms(make, shift, stretch):
    world = linear_gaussian()
    x = world.sample(40)
    approximation, amortisation = closed_forms(world, shift, stretch)
    gaps = inference_gaps(make(world, shift, stretch), x, log_evidence=known(world, x))
    assert abs(gaps.approximation.value.mean() - approximation) < 0.02
    assert abs(gaps.amortisation.value.mean() - amortisation) < 0.02
    assert (
        (gaps.approximation.value - approximation).abs() < 5 * gaps.approximation.stderr + 0.01
    ).all()
    assert (
        (gaps.amortisation.value - amortisation).abs() < 5 * gaps.amortisation.stderr + 0.01
    ).all()
    assert (
        gaps.total.value - gaps.approximation.value - gaps.amortisation.value
    ).abs().max() < 1e-9
    assert gaps.khat.isnan().all()


def test_without_a_known_evidence_it_is_estimated_from_the_best_q():
    world = linear_gaussian()
    x = world.sample(40)
    gaps = inference_gaps(mean_field(world, 0.3, 1.5), x)
    assert gaps.left.max() == 0
    assert abs(gaps.approximation.value.mean() - closed_forms(world, 0.3, 1.5)[0]) < 0.02
    assert abs(gaps.log_evidence.value.mean() - world.log_evidence(x).mean()) < 0.02
    assert (gaps.approximation.value >= 0).all()


@pytest.mark.parametrize("make", [mean_field, by_hand])
def test_a_full_covariance_closes_the_approximation_gap(make):
    world = linear_gaussian()
    x = world.sample(10)
    gaps = inference_gaps(
        make(world, 0.3), x, log_evidence=known(world, x), family=pv.MultivariateNormal
    )
    assert gaps.approximation.value.abs().max() < 0.02
    assert within(
        gaps.total.value, sum(closed_forms(world, 0.3, 1.0)).expand(10), gaps.total.stderr
    )


@pytest.mark.parametrize("num_steps", [200, 500])
@pytest.mark.parametrize("d, condition", [(2, 100.0), (20, 3847.0)])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_narrow_posterior_is_found(d, condition, precision, num_steps):
    """The default steps, and too few to be sure of it. The encoder is 3 deviations off."""
    world = narrow_gaussian(d, condition)
    x, pair = world.sample(4), mean_field(world, 3 * world.s / world.m.diagonal().sqrt())
    pair = pair.to(precision)
    of = {"log_evidence": known(world, x), "num_steps": num_steps, "num_samples": 2000, "seed": 0}
    full = inference_gaps(pair, x.to(precision), family=pv.MultivariateNormal, **of).approximation
    assert (full.value.abs() < 5 * full.stderr + 0.01).all()
    own = inference_gaps(pair, x.to(precision), **of)
    truth = closed_forms(world, 0.0, 1.0)[0]
    assert ((own.approximation.value - truth).abs() < 5 * own.approximation.stderr + 0.01).all()
    assert num_steps < 500 or own.warnings() == []


def test_weights_too_heavy_for_the_evidence_are_said():
    """The best mean-field q is far from a narrow posterior, so its weights miss log p(x)."""
    world = narrow_gaussian(20, 3847.0)
    gaps = inference_gaps(mean_field(world), world.sample(2), num_steps=100)
    assert gaps.approximation.value.mean() < closed_forms(world, 0.0, 1.0)[0] - 1
    assert any("k̂ of the refitted q" in said for said in gaps.warnings())


def test_a_refit_that_still_rises_warns_and_has_it_in_its_error():
    world = narrow_gaussian(3, 1000.0)
    x, pair = world.sample(2), mean_field(world)
    flow = partial(pv.Flow, transforms=1, hidden_features=(4,))
    gaps = inference_gaps(pair, x, log_evidence=known(world, x), family=flow, num_steps=10)
    assert (gaps.left > 0).any()
    assert (gaps.approximation.stderr >= gaps.left).all()
    assert (gaps.amortisation.stderr >= gaps.left).all()
    assert "still rose for" in gaps.warnings()[0] and "num_steps=" in gaps.warnings()[0]


@pytest.mark.parametrize(
    "family", [partial(pv.LowRankNormal, rank=2), partial(pv.Flow, flow=zuko.flows.MAF)]
)
def test_richer_families_come_near_the_posterior(family):
    world = linear_gaussian(d=2)
    x = world.sample(2)
    if family.func is pv.Flow:
        family = partial(family, transforms=1, hidden_features=(8,))
    gaps = inference_gaps(
        mean_field(world, 0.3), x, log_evidence=known(world, x), family=family, num_steps=300
    )
    assert gaps.approximation.value.abs().max() < 0.05


def test_a_guide_that_is_the_posterior_has_no_gaps():
    world = linear_gaussian()
    x = world.sample(5)
    gaps = inference_gaps(world.pair(), x, num_steps=50)
    assert gaps.approximation.value.max() < 0.01
    assert within(gaps.amortisation.value, torch.zeros(5).double(), gaps.amortisation.stderr)


@pytest.mark.parametrize(
    "prior, q",
    [
        (dist.Gamma(2.0, 1.0), lambda n: dist.Gamma(torch.full((n,), 1.0), 1.0)),
        (dist.Beta(2.0, 2.0), lambda n: dist.Beta(torch.full((n,), 1.0), 3.0)),
        (dist.Normal(0.0, 1.0), lambda n: dist.Laplace(torch.full((n,), 1.0), 1.0)),
        (dist.Normal(0.0, 1.0), lambda n: dist.StudentT(5.0, torch.full((n,), 1.0), 1.0)),
        (dist.LogNormal(0.0, 1.0), lambda n: dist.LogNormal(torch.full((n,), 1.0), 1.0)),
    ],
)
@pytest.mark.parametrize("family", [None, pv.MultivariateNormal])
def test_other_families_and_constrained_latents(prior, q, family):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", q(x.shape[0]))

    x = torch.tensor([0.3, 0.6, 0.9])
    pair = pv.Pair(model, guide)
    # p(x) by the trapezoid rule
    z = (
        torch.linspace(0.0005, 0.9995, 2000)
        if isinstance(prior, dist.Beta)
        else torch.linspace(-8, 12, 20_001)
    )
    z = z[z > 0] if isinstance(prior, dist.Gamma | dist.LogNormal) else z
    joint = (prior.log_prob(z) + dist.Normal(z, 0.5).log_prob(x[:, None])).exp()
    truth = torch.trapezoid(joint, z, dim=-1).log().double()
    evidence = Estimate(truth, torch.zeros(3))
    gaps = inference_gaps(
        pair, x, log_evidence=evidence, family=family, num_steps=300, num_samples=2000
    )
    # the rule is exact to about 1e-7
    assert (gaps.approximation.value > -5 * gaps.approximation.stderr - 1e-5).all()
    assert (gaps.approximation.value < 0.2).all()
    assert (gaps.amortisation.value > -5 * gaps.amortisation.stderr).all()


def test_the_refit_is_not_reported_worse_than_its_start():
    world = linear_gaussian()
    x = world.sample(20)
    gaps = inference_gaps(mean_field(world), x, learning_rate=30.0, num_steps=5)
    assert (gaps.amortisation.value > -5 * gaps.amortisation.stderr).all()


def test_the_posterior_gap_is_the_closed_form():
    world = linear_gaussian()
    x = world.sample(20)
    truth = sum(closed_forms(world, 0.2, 1.2)).expand(20)
    for evidence in (None, known(world, x)):
        gap = posterior_gap(mean_field(world, 0.2, 1.2), x, num_samples=4000, log_evidence=evidence)
        assert within(gap.value, truth, gap.stderr)


def test_on_digits_the_gaps_add_up_to_the_grid(trained):
    vae, x = trained
    x = x[:20]
    grid = grid_posterior(vae, x, size=150)
    gaps = inference_gaps(
        vae, x, log_evidence=Estimate(grid.log_evidence, torch.zeros(20)), num_steps=200
    )
    assert (gaps.total.value - grid.gap).abs().mean() < 0.02
    assert gaps.approximation.value.min() > -0.02 and gaps.amortisation.value.mean() > 0


def test_the_pair_is_left_as_it_was():
    world = linear_gaussian()
    pair = mean_field(world, 0.3)
    pair.prior.eval()
    modes = [m.training for m in pair.modules()]
    before = {key: value.clone() for key, value in pair.state_dict().items()}
    inference_gaps(pair, world.sample(3), num_steps=3, num_samples=20)
    assert [m.training for m in pair.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in pair.parameters())
    assert all(torch.equal(value, before[key]) for key, value in pair.state_dict().items())
    assert not list(pyro.get_param_store().keys())
    assert torch.distributions.Distribution._validate_args and torch.is_grad_enabled()


def is_same(first, second, key):
    a, b = vars(first)[key], vars(second)[key]
    return torch.equal(a.value, b.value) and torch.equal(a.stderr, b.stderr)


def test_a_seed_leaves_the_random_state_as_it_was():
    world = linear_gaussian()
    x, pair = world.sample(3), mean_field(world, 0.3)
    few = {"num_steps": 3, "num_samples": 20}
    state = torch.get_rng_state()
    first, second = (inference_gaps(pair, x, seed=1, **few) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(is_same(first, second, key) for key in TENSORS)
    torch.manual_seed(1)
    third = inference_gaps(pair, x, **few)
    assert all(is_same(first, third, key) for key in TENSORS)


def test_one_datum_and_chunks(monkeypatch):
    world = linear_gaussian()
    pair = mean_field(world, 0.3)
    assert inference_gaps(pair, world.sample(1), num_steps=3, num_samples=20).total.value.shape == (
        1,
    )
    monkeypatch.setattr("pyro_vae.weights.blocks.KEPT", 1000)
    x = world.sample(7)
    gaps = inference_gaps(pair, x, log_evidence=known(world, x), num_samples=2000)
    approximation, amortisation = closed_forms(world, 0.3, 1.0)
    assert abs(gaps.approximation.value.mean() - approximation) < 0.03
    assert within(gaps.total.value, (approximation + amortisation).expand(7), gaps.total.stderr)


def test_compiled_the_steps_are_the_same(monkeypatch):
    """With two blocks of data, of which the code of the first serves the second."""
    torch.manual_seed(0)
    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(3, given=2),
        variational=pv.Normal(2, given=3),
    )
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    monkeypatch.setattr(blocks, "KEPT", 30)
    options = {"num_steps": 10, "num_particles": 4, "num_samples": 20, "seed": 0}
    eager, compiled = (
        inference_gaps(pair, x, **options, compile=compile) for compile in (False, True)
    )
    torch.testing.assert_close(compiled.best_elbo.value, eager.best_elbo.value)
    torch.testing.assert_close(compiled.approximation.value, eager.approximation.value)


def test_a_discrete_latent_is_refused():
    pair, x = discrete_world().pair(), torch.arange(5)
    with pytest.raises(ValueError, match="latent 'z', Categorical is discrete"):
        inference_gaps(pair, x)
    with pytest.raises(ValueError, match=r"latent 'z' is discrete .* use posterior_gap"):
        inference_gaps(pair, x, family=pv.MultivariateNormal)


@pytest.mark.parametrize(
    "variational, said",
    [
        (lambda: pv.Flow(2, given=3, transforms=1), "FlowDistribution is not made of parameters"),
        (
            lambda: pv.Mixture(pv.StudentT, 2, given=3, components=2),
            "Mixture has no reparametrised draws",
        ),
    ],
)
def test_a_guide_that_cannot_be_refitted_asks_for_a_family(variational, said):
    pair = pv.VAE(
        prior=pv.StandardNormal(2), likelihood=pv.Bernoulli(3, given=2), variational=variational()
    )
    few = {"num_steps": 3, "num_samples": 20}
    with pytest.raises(ValueError, match=f"{said}.*family=pv.MultivariateNormal"):
        inference_gaps(pair, torch.ones(4, 3), **few)
    assert inference_gaps(
        pair, torch.ones(4, 3), family=pv.MultivariateNormal, **few
    ).total.value.shape == (4,)


def test_a_guide_whose_latents_depend_on_each_other_asks_for_a_family():
    def guide(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(x / 3, 0.8))
            pyro.sample("b", dist.Normal((x + a) / 2, 0.7))

    pair, x = pv.Pair(two_in_a_chain, guide), torch.randn(5)
    with pytest.raises(ValueError, match="'b', Normal depends on draws of the other latents"):
        inference_gaps(pair, x)
    assert inference_gaps(pair, x, family=pv.MultivariateNormal).approximation.value.max() < 0.02


@pytest.mark.parametrize(
    "wrong, error, said",
    [
        ({"num_steps": 0}, ValueError, "num_steps"),
        ({"num_particles": 1.5}, TypeError, "num_particles"),
        ({"num_steps": True}, TypeError, "num_steps"),
        ({"learning_rate": "0.1"}, TypeError, "learning_rate"),
        ({"num_samples": -1}, ValueError, "num_samples"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate"),
        ({"family": 3}, TypeError, "family"),
        ({"family": lambda d: 3}, TypeError, "family"),
        ({"family": pv.Gamma}, ValueError, "family: Gamma .* expected one over the reals"),
        (
            {"family": partial(pv.Mixture, pv.StudentT, components=2)},
            ValueError,
            "family: Mixture has no",
        ),
        (
            {"log_evidence": torch.zeros(3)},
            TypeError,
            "log_evidence: expected fields value and stderr",
        ),
        (
            {"log_evidence": Estimate(torch.zeros(2), torch.zeros(2))},
            ValueError,
            r"value of shape \(3,\)",
        ),
    ],
)
def test_bad_arguments_are_named(wrong, error, said):
    world = linear_gaussian()
    with pytest.raises(error, match=said):
        inference_gaps(
            mean_field(world), world.sample(3), **{"num_steps": 2, "num_samples": 10, **wrong}
        )


def test_the_gap_of_weights_is_the_log_of_their_mean_less_the_mean_of_their_logs():
    log_w = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]).double()
    gap = estimate_gap(log_w)
    truth = log_w.exp().mean(0).log() - log_w.mean(0)
    assert torch.allclose(gap.value, truth) and gap.value[1].abs() < 1e-12
    assert gap.stderr[0] > 0 and gap.stderr[1].abs() < 1e-12


def test_the_error_of_the_gap_is_what_it_says():
    log_w = torch.randn(2000, 500, dtype=torch.float64)
    gap = estimate_gap(log_w)
    ratio = gap.value.std() / gap.stderr.square().mean().sqrt()
    assert 0.5 < ratio < 1 + 5 / (2 * 500) ** 0.5


def test_richer_results_serve_as_the_evidence():
    world = linear_gaussian()
    x, pair = world.sample(4), mean_field(world, 0.3)
    evidence = log_evidence(pair, x, num_samples=500)
    gaps = inference_gaps(pair, x, log_evidence=evidence, num_steps=3, num_samples=500)
    assert torch.equal(gaps.log_evidence.value, evidence.value)
    assert type(gaps.log_evidence) is Estimate and type(gaps.elbo) is Estimate
    assert type(posterior_gap(pair, x, num_samples=50, log_evidence=evidence)) is Estimate


def test_the_error_of_the_total_is_that_of_the_evidence_and_the_elbo():
    world = linear_gaussian()
    x = world.sample(4)
    evidence = Estimate(world.log_evidence(x), torch.full((4,), 0.5).double())
    gaps = inference_gaps(mean_field(world), x, log_evidence=evidence, num_steps=2, num_samples=99)
    root = (0.25 + gaps.elbo.stderr.square()).sqrt()
    assert torch.allclose(gaps.total.stderr, root)
    best = (0.25 + gaps.best_elbo.stderr.square()).sqrt()
    assert torch.allclose(gaps.approximation.stderr, best)
