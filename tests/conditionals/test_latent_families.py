"""What the families of latents promise beyond the one contract, and that a VAE with them is exported."""

import math

import pyro
import pytest
import torch
import zuko
from oracles import linear_gaussian
from torch import nn
from torch.distributions import kl_divergence

import pyro_vae as pv
from pyro_vae.pairs.pair import OwnParameters
from pyro_vae.weights.traces import latent_values, log_prob, sample_sites, trace, unvalidated


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# Vamp and Aggregate


def test_free_pseudo_inputs_start_as_published_and_are_clipped_where_they_are_used():
    q = pv.Normal(2, given=(3, 50))
    prior = pv.Vamp(q, 200)
    u = prior.pseudo_inputs
    assert abs(u.mean() - 0.05) < 5 * 0.01 / u.numel() ** 0.5
    assert abs(u.std() - 0.01) < 5 * 0.01 / (2 * u.numel()) ** 0.5

    with torch.no_grad():
        u.copy_(torch.randn_like(u))
    means = prior().component_distribution.mean
    torch.testing.assert_close(means, q(u.clamp(0, 1)).mean)
    assert not torch.allclose(means, q(u).mean)

    wide = pv.Vamp(q, 200, within=(-10.0, 30.0)).pseudo_inputs
    assert abs(wide.mean() - (-8)) < 5 * 0.4 / wide.numel() ** 0.5


def test_learned_weights_start_equal_and_are_those_of_the_mixture():
    q = pv.Normal(2, given=3)
    prior, z = pv.Vamp(q, torch.randn(4, 3), learned_weights=True), torch.randn(7, 2)
    torch.testing.assert_close(prior().log_prob(z), pv.Vamp(q, prior.pseudo_inputs)().log_prob(z))

    prior.logits.data = torch.tensor([0.0, 1.0, -2.0, 3.0])
    truth = torch.logsumexp(
        prior.logits.log_softmax(-1) + q(prior.pseudo_inputs).log_prob(z[:, None]), -1
    )
    torch.testing.assert_close(prior().log_prob(z), truth)
    assert pv.Vamp(q, 4).logits is None


def test_pseudo_inputs_from_data_are_different_rows_of_it():
    x = torch.arange(20.0).unsqueeze(-1).expand(20, 3)
    u = pv.Vamp.from_data(pv.Normal(2, given=3), x, components=20).pseudo_inputs
    assert u[:, 0].sort().values.tolist() == x[:, 0].tolist() and not torch.equal(u, x)
    assert (
        pv.Vamp.from_data(pv.Normal(2, given=3), x.int(), components=5).pseudo_inputs.dtype
        == torch.float32
    )


def test_the_aggregate_is_the_average_of_q_as_it_was():
    q, x, z = pv.Normal(2, given=3), torch.randn(9, 3), torch.randn(7, 2)
    prior = pv.Aggregate(q, x)
    truth = torch.stack([q(row).log_prob(z) for row in x]).logsumexp(0) - math.log(9)

    for w in q.parameters():
        nn.init.zeros_(w)

    torch.testing.assert_close(prior().log_prob(z), truth)
    assert not any(w.requires_grad for w in prior.parameters()) and "x" in dict(
        prior.named_buffers()
    )
    assert not prior.train().training
    assert pv.Aggregate(q, x, components=4)().component_distribution.batch_shape == (4,)


def test_the_aggregate_is_the_best_prior_of_a_trained_pair(trained, digits, tmp_path):
    vae, _ = trained
    x = pv.data.binarise(digits.train)
    before = pv.diagnostics.elbo(vae, x, num_samples=20, progress=False)
    new = pv.VAE(
        prior=pv.Aggregate(vae.variational, x),
        likelihood=vae.likelihood,
        variational=vae.variational,
    )
    after = pv.diagnostics.elbo(new, x, num_samples=20, progress=False)

    difference = after.value - before.value
    assert difference.mean() > 5 * difference.std() / len(x) ** 0.5

    pv.save_weights(new, tmp_path / "weights.safetensors")
    other = pv.Normal(2, given=(1, 8, 8))
    blank = pv.VAE(
        prior=pv.Aggregate(other, torch.zeros_like(x)),
        likelihood=pv.Bernoulli((1, 8, 8), given=2),
        variational=other,
    )
    pv.load_weights(blank, tmp_path / "weights.safetensors")
    z = torch.randn(5, 2)
    assert torch.equal(blank.prior().log_prob(z), new.prior().log_prob(z))


# Mixture


def test_a_mixture_is_reparametrised_where_it_can_be():
    kinds = {
        pv.Normal: True,
        pv.Laplace: True,
        pv.MultivariateNormal: True,
        pv.StudentT: False,
        pv.Bernoulli: False,
    }
    for family, can in kinds.items():
        assert pv.Mixture(family, 2, given=3, components=4)(torch.zeros(5, 3)).has_rsample is can
    assert pv.Mixture(pv.LowRankNormal, 2, components=4, rank=1)().has_rsample


# Flows and Autoregressive


def test_an_inverse_autoregressive_draw_takes_one_pass():
    q = pv.Flow(6, given=3, flow=pv.IAF, transforms=2, hidden_features=(16,))
    passes = []
    for t in q.flow.transform.transforms:
        t.transform.hyper.register_forward_hook(lambda *_: passes.append(1))

    p = q(torch.zeros(5, 3))
    z = p.rsample((4,))
    kept = p.log_prob(z)
    assert len(passes) == 2
    torch.testing.assert_close(p.log_prob(z.clone()), kept, rtol=1e-4, atol=1e-4)
    assert len(passes) > 2 * 6


@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize(
    "kind", [pv.IAF, zuko.flows.MAF, zuko.flows.NSF, zuko.flows.RealNVP], ids=lambda f: f.__name__
)
def test_a_conditional_flow_starts_at_a_normal_read_off_what_is_given(kind, d):
    q = pv.Flow(d, given=3, flow=kind)
    x = 2 * torch.randn(200, 3)
    normal = q(x).flow.base
    z = normal.sample()
    assert normal.mean.std(0).min() > 0.01 and normal.stddev.std(0).min() > 0.005
    assert (q(x).log_prob(z) - normal.log_prob(z)).abs().mean() < 0.1
    assert isinstance(pv.Flow(d, flow=kind)().flow.base, zuko.distributions.DiagNormal)


@pytest.mark.parametrize(
    "family, options", [(pv.Bernoulli, {}), (pv.Categorical, {"classes": 3}), (pv.Normal, {})]
)
def test_each_dimension_depends_on_those_before_it_and_on_nothing_else(family, options):
    p = pv.Autoregressive(family, 4, given=2, **options)(torch.randn(2))
    a = torch.tensor([0.0, 1.0, 0.0, 1.0])

    for d in range(4):
        other = a.clone()
        other[d] = 1 - other[d]
        x = torch.zeros(4)  # the value that is scored stays, what it is conditioned on changes
        apart = p.conditionals(a).log_prob(x) != p.conditionals(other).log_prob(x)
        assert not apart[: d + 1].any() and apart[d + 1 :].all()


def test_an_autoregressive_prior_learns_what_an_independent_one_cannot():
    x = torch.bernoulli(torch.full((500, 1), 0.5)).expand(500, 3)
    p = pv.Autoregressive(pv.Bernoulli, 3)
    optimiser = torch.optim.Adam(p.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        (-p().log_prob(x).mean()).backward()
        optimiser.step()
    assert p().log_prob(x).mean() > -1.2 * math.log(2) > -3 * math.log(2)
    drawn = p().sample((200,))
    assert (drawn == drawn[:, :1]).all(-1).float().mean() > 0.9


# Sphere, simplex, relaxations


def test_the_kl_to_the_uniform_sphere_is_the_difference_of_the_densities(k=5):
    for family in (pv.PowerSpherical, pv.VonMisesFisher):
        q, p = family((2, 3), given=4)(torch.randn(5, 4)), pv.UniformSphere((2, 3))()
        z = q.sample((20_000,))
        drawn = q.log_prob(z) - p.log_prob(z)
        error = drawn.std(0) / len(drawn) ** 0.5
        assert ((drawn.mean(0) - kl_divergence(q, p.expand([5]))).abs() < k * error).all()


def test_a_temperature_is_a_buffer_that_a_schedule_sets():
    q = pv.RelaxedCategorical(3, given=2, temperature=2.0)
    x = torch.randn(1000, 2)
    assert "_temperature" in dict(q.named_buffers()) and q.temperature == 2
    warm = q(x).sample().max(-1).values.mean()
    q.temperature = 0.05
    assert q.temperature == pytest.approx(0.05) and isinstance(q.temperature, torch.Tensor)
    assert q(x).sample().max(-1).values.mean() > 0.95 > warm + 0.1
    assert repr(q) == "RelaxedCategorical((3,) | (2,), temperature=0.05)"


# Refined


def test_steps_on_the_elbo_close_the_amortisation_gap():
    world = linear_gaussian(d=2)
    x = world.sample(50)
    pair = world.pair(shift=1.0)

    def gap(steps):
        q = pair.variational
        if steps:
            q = pv.Refined(
                q, pair.prior, pair.likelihood, steps, learning_rate=0.05, num_particles=8
            )
        vae = pv.VAE(prior=pair.prior, likelihood=pair.likelihood, variational=q)
        elbo = pv.diagnostics.elbo(vae, x, num_samples=200, progress=False)
        gap = world.log_evidence(x) - elbo.value
        return gap.mean().item(), elbo.stderr.square().sum().sqrt().item() / len(x)

    (none, error), (few, _), (many, _) = gap(0), gap(5), gap(60)
    exact = (
        world.gap(x, pair.variational(x).mean, pair.variational(x).covariance_matrix).mean().item()
    )
    assert abs(none - exact) < 5 * error
    assert few < 0.9 * none and many < 0.1 * none and many > -5 * error


def test_a_refined_q_trains_its_encoder_and_leaves_the_rest_alone():
    prior, likelihood = pv.StandardNormal(2), pv.Normal(3, given=2)
    encoder = pv.Normal(2, given=3)
    q = pv.Refined(encoder, prior, likelihood, steps=3)
    x = torch.randn(20, 3)
    with torch.no_grad():
        start, end = encoder(x), q(x)
    moved = (end.base_dist.loc - start.base_dist.loc).norm(dim=-1)
    assert (moved > 0).all() and (moved <= 3 * 0.1 + 1e-5).all()

    q(x).rsample().sum().backward()
    assert all(w.grad is not None for w in encoder.parameters())
    assert all(w.grad is None for w in likelihood.parameters())

    vae = pv.VAE(prior=prior, likelihood=likelihood, variational=q)
    history = pv.fit(vae, x.repeat(10, 1), epochs=3, batch_size=50, seed=0, progress=False)
    assert torch.tensor(history.loss).isfinite().all()


# Enumeration


def discrete_parts(kind):
    if kind == "one-hot":
        return (3,), pv.OneHotCategorical(3), pv.OneHotCategorical(3, given=4), torch.eye(3)
    if kind == "categorical":
        return (
            (),
            pv.Categorical((), classes=3),
            pv.Categorical((), given=4, classes=3),
            torch.arange(3),
        )
    return (), pv.Bernoulli(()), pv.Bernoulli((), given=4), torch.arange(2.0)


@pytest.mark.parametrize("kind", ["one-hot", "categorical", "bernoulli"])
def test_a_latent_of_few_values_is_summed_over(kind):
    shape, prior, q, values = discrete_parts(kind)
    nn.init.normal_(prior.raw)
    likelihood = pv.Bernoulli(4, given=shape or [()])
    vae = pv.VAE(prior=prior, likelihood=likelihood, variational=q, enumerate=True)
    x = torch.bernoulli(torch.full((5, 4), 0.5))

    z = values.unsqueeze(1).expand(len(values), 5, *shape)
    log_q = q(x).log_prob(z)
    log_p = prior().log_prob(z) + vae.likelihood(z).log_prob(x)
    truth = -(log_q.exp() * (log_p - log_q)).sum(0).mean()

    loss = pv.Objective(vae, pyro.infer.TraceEnum_ELBO(max_plate_nesting=1))(x)
    torch.testing.assert_close(loss, truth)
    for mine, true in zip(
        torch.autograd.grad(loss, list(vae.parameters())),
        torch.autograd.grad(truth, list(vae.parameters())),
    ):
        torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-6)

    evidence = pv.diagnostics.log_evidence(vae, x, num_samples=2000, progress=False)
    assert ((evidence.value - log_p.logsumexp(0)).abs() < 5 * evidence.stderr + 1e-6).all(), (
        "elsewhere it is drawn"
    )


def test_what_has_too_many_values_is_not_summed_over():
    parts = {
        "prior": pv.Bernoulli(2),
        "likelihood": pv.Bernoulli(4, given=2),
        "variational": pv.Bernoulli(2, given=4),
    }
    pv.VAE(**parts).guide(torch.zeros(5, 4))
    with pytest.raises(
        ValueError, match=r"enumerate=True: .* OneHotCategorical\(K\), .* got Bernoulli\(\(2,\)"
    ):
        pv.VAE(**parts, enumerate=True).guide(torch.zeros(5, 4))


# Export

REAL = (pv.StandardNormal, pv.Normal)
LATENTS = {
    "mixture": (pv.StandardNormal, lambda **kw: pv.Mixture(pv.Normal, 3, components=2, **kw)),
    "full mixture": (lambda n: pv.Mixture(pv.MultivariateNormal, n, components=2), REAL[1]),
    "IAF": (pv.StandardNormal, lambda **kw: pv.Flow(3, flow=pv.IAF, transforms=1, **kw)),
    "couplings": (lambda n: pv.Flow(n, passes=2, transforms=1), REAL[1]),
    "autoregressive": (lambda n: pv.Autoregressive(pv.Normal, n), REAL[1]),
    "autoregressive q": (pv.Bernoulli, lambda **kw: pv.Autoregressive(pv.Bernoulli, 3, **kw)),
    "categorical": (
        lambda n: pv.Autoregressive(pv.Categorical, n, classes=4),
        lambda **kw: pv.Categorical(3, classes=4, **kw),
    ),
    "power spherical": (pv.UniformSphere, pv.PowerSpherical),
    "von Mises-Fisher": (pv.UniformSphere, pv.VonMisesFisher),
    "Dirichlet": (pv.Dirichlet, pv.Dirichlet),
    "logistic-normal": (pv.Dirichlet, pv.LogisticNormal),
    "relaxed": (
        lambda n: pv.RelaxedCategorical(n, temperature=0.7),
        lambda **kw: pv.RelaxedCategorical(3, temperature=0.5, **kw),
    ),
    "relaxed Bernoulli": (
        lambda n: pv.RelaxedBernoulli(n, temperature=0.7),
        lambda **kw: pv.RelaxedBernoulli(3, temperature=0.5, **kw),
    ),
    "one-hot": (pv.OneHotCategorical, pv.OneHotCategorical),
    "Vamp": (None, REAL[1]),
    "Aggregate": (None, REAL[1]),
}


class Loss(nn.Module):
    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def forward(self, x):
        guide = trace(self.pair.guide, (x,), draws=2)
        model = trace(self.pair.model, (x,), draws=2, latents=latent_values(guide))
        log_p = sum(log_prob(site) for site in sample_sites(model).values())
        return (sum(log_prob(site) for site in sample_sites(guide).values()) - log_p).mean()


def with_latent(name):
    prior, variational = LATENTS[name]
    q = variational(given=4) if name not in SHAPED else variational(3, given=4)
    if name == "Vamp":
        p = pv.Vamp(q, 5, learned_weights=True)
    elif name == "Aggregate":
        p = pv.Aggregate(q, torch.randn(5, 4))
    else:
        p = prior(3)
    return pv.VAE(prior=p, likelihood=pv.Bernoulli(4, given=3), variational=q)


SHAPED = {
    "full mixture", "couplings", "autoregressive", "power spherical", "von Mises-Fisher", "Dirichlet",
    "logistic-normal", "one-hot", "Vamp", "Aggregate",
}  # fmt: skip


@pytest.mark.parametrize("name", LATENTS)
def test_a_pair_is_exported_once_for_every_batch_size(name):
    loss = Loss(with_latent(name))
    batch = torch.export.Dim("batch", min=2, max=4096)
    with OwnParameters(), unvalidated():
        exported = torch.export.export(
            loss, (torch.ones(6, 4),), strict=False, dynamic_shapes=({0: batch},)
        ).module()
        for n in (2, 6, 11):
            x = torch.bernoulli(torch.full((n, 4), 0.5))
            torch.manual_seed(1)
            eager = loss(x)
            torch.manual_seed(1)
            torch.testing.assert_close(exported(x), eager)
    eager.backward()
    learned = [w for w in loss.parameters() if w.requires_grad]
    assert all(w.grad is not None and w.grad.isfinite().all() for w in learned)


@pytest.mark.parametrize("name", ["power spherical", "Dirichlet", "Gamma", "StudentT", "Beta"])
def test_the_gradients_of_gamma_draws_are_traced_too(name):
    if name in LATENTS:
        vae = with_latent(name)
    else:
        family = getattr(pv, name)
        vae = pv.VAE(
            prior=family(3), likelihood=pv.Bernoulli(4, given=3), variational=family(3, given=4)
        )
    loss, x = Loss(vae), torch.bernoulli(torch.full((6, 4), 0.5))
    batch = torch.export.Dim("batch", min=2, max=4096)
    with OwnParameters(), unvalidated():
        exported = torch.export.export(
            loss, (x,), strict=False, dynamic_shapes=({0: batch},)
        ).module()
        traced = torch.compile(exported, backend="aot_eager", dynamic=True)
        values, gradients = [], []
        for run in (loss, traced):
            torch.manual_seed(1)
            values.append(run(x))
            values[-1].backward()
            gradients.append([w.grad.clone() for w in loss.parameters()])
            loss.zero_grad()
            for w, e in zip(loss.parameters(), exported.parameters()):
                w.grad, e.grad = None, None
    torch.testing.assert_close(*values)
    for eager, compiled in zip(*gradients):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)


# Misuse

Q = pv.Normal(2, given=3)
MISUSES = {
    "a mixture of vectors for a number": (
        lambda: pv.Mixture(pv.MultivariateNormal, (), components=2),
        ValueError,
        r"MultivariateNormal: event_shape \(\) has too few dimensions",
    ),
    "more pseudo-inputs than data": (
        lambda: pv.Vamp.from_data(Q, torch.zeros(10, 3), components=11),
        ValueError,
        "components: expected a whole number from 1 to the 10 data given, got 11: .* more pseudo-inputs than data",
    ),
    "more components than data": (
        lambda: pv.Aggregate(Q, torch.zeros(10, 3), components=11),
        ValueError,
        "components: expected .* 10 data given, got 11",
    ),
    "an aggregate of other data": (
        lambda: pv.Aggregate(Q, torch.zeros(10, 4)),
        ValueError,
        r"x: expected a tensor .* given \[\(3,\)\], got shape \[10, 4\]",
    ),
    "zero pseudo-inputs": (
        lambda: pv.Vamp(Q, 0),
        ValueError,
        r"pseudo_inputs: .*got shape \[0, 3\]",
    ),
    "free pseudo-inputs for two variables": (
        lambda: pv.Vamp(pv.Normal(2, given=[3, 4]), 5),
        ValueError,
        "pseudo_inputs: expected .* given one variable",
    ),
    "no interval": (
        lambda: pv.Vamp(Q, 5, within=(1, 0)),
        ValueError,
        r"within: .* the lower first, got \(1, 0\)",
    ),
    "no sphere": (
        lambda: pv.PowerSpherical(1),
        ValueError,
        r"PowerSpherical: .* at least 2, got \(1,\)",
    ),
    "no von Mises-Fisher": (
        lambda: pv.VonMisesFisher(1, given=3),
        ValueError,
        "VonMisesFisher: .* at least 2",
    ),
    "no uniform sphere": (
        lambda: pv.UniformSphere(()),
        ValueError,
        r"UniformSphere: .* at least 2, got \(\)",
    ),
    "a sphere of no dimension": (
        lambda: pv.PowerSpherical(()),
        ValueError,
        r"\(\) has too few dimensions",
    ),
    "a simplex of a number": (
        lambda: pv.Dirichlet(()),
        ValueError,
        r"Dirichlet: event_shape \(\) has too few",
    ),
    "a simplex of one": (
        lambda: pv.LogisticNormal(1),
        ValueError,
        r"LogisticNormal: .* at least 2, got \(1,\)",
    ),
    "a negative concentration": (
        lambda: pv.VonMisesFisher(3, given=2, concentration=-1.0),
        ValueError,
        "concentration: expected finite values within .* got -1",
    ),
    "a temperature of zero": (
        lambda: pv.RelaxedCategorical(3, temperature=0.0),
        ValueError,
        "temperature: expected a positive, finite number, got 0.0",
    ),
    "a schedule to a negative temperature": (
        lambda: setattr(pv.RelaxedBernoulli(3, temperature=1.0), "temperature", -1.0),
        ValueError,
        "temperature: expected a positive, finite number, got -1.0",
    ),
    "vectors, dimension by dimension": (
        lambda: pv.Autoregressive(pv.Dirichlet, 3),
        ValueError,
        "family: expected one whose draw is a single number, Dirichlet draws vectors",
    ),
    "nothing to condition": (
        lambda: pv.Autoregressive(pv.Bernoulli, 3, logits=0.0),
        ValueError,
        "Bernoulli: every parameter is fixed, so no dimension depends on another",
    ),
    "a refined flow": (
        lambda: pv.Refined(pv.Flow(2, given=3), pv.StandardNormal(2), pv.Normal(3, given=2), 5),
        TypeError,
        r"variational: expected a family given x alone, .*got Flow",
    ),
    "a refined coin": (
        lambda: pv.Refined(pv.Bernoulli(2, given=3), pv.Bernoulli(2), pv.Normal(3, given=2), 5),
        ValueError,
        "variational: Bernoulli has no reparametrised draws",
    ),
    "no steps": (
        lambda: pv.Refined(Q, pv.StandardNormal(2), pv.Normal(3, given=2), 0),
        ValueError,
        "steps: expected a positive whole number, got 0",
    ),
    "no rate": (
        lambda: pv.Refined(Q, pv.StandardNormal(2), pv.Normal(3, given=2), 5, learning_rate=0),
        ValueError,
        "learning_rate: expected a positive number, got 0",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
