"""Bounds: against closed forms, exact enumeration, Pyro's numbers on the same draws, and each other."""

import itertools
import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, RenyiELBO, ReweightedWakeSleep, Trace_ELBO, TraceMeanField_ELBO
from pyro.optim import Adam
from torch import nn

import pyro_vae as pv
from pyro_vae.objectives.kl import find_kl
from pyro_vae.objectives.run import Run
from pyro_vae.pairs.parameters import OwnParameters
from pyro_vae.weights.traces import unvalidated
from tests.oracles import LinearGaussian, linear_gaussian, within

WORLD = linear_gaussian(d=2, n=4)
DOUBLY, LANDING, SCORE, LEAVE = (
    "doubly_reparametrised",
    "sticking_the_landing",
    "score",
    "leave_one_out",
)

CONTINUOUS = {
    "elbo": pv.EvidenceLowerBound,
    "elbo 3": partial(pv.EvidenceLowerBound, 3),
    "landing": partial(pv.EvidenceLowerBound, 2, LANDING),
    "analytic": partial(pv.AnalyticKL, 2),
    "iwae": partial(pv.ImportanceWeighted, 4),
    "iwae doubly": partial(pv.ImportanceWeighted, 4, DOUBLY),
    "iwae score": partial(pv.ImportanceWeighted, 4, SCORE),
    "renyi": partial(pv.Renyi, 0.5, 4),
    "renyi doubly": partial(pv.Renyi, 0.5, 4, DOUBLY),
    "renyi negative doubly": partial(pv.Renyi, -1.0, 4, DOUBLY),
    "miwae": partial(pv.MIWAE, 2, 3),
    "miwae doubly": partial(pv.MIWAE, 2, 3, DOUBLY),
    "piwae": partial(pv.PIWAE, 2, 3),
    "piwae doubly": partial(pv.PIWAE, 2, 3, DOUBLY),
    "ciwae": partial(pv.CIWAE, 0.3, 4),
    "ciwae doubly": partial(pv.CIWAE, 0.3, 4, DOUBLY),
    "vimco": partial(pv.VIMCO, 3),
    "wake": partial(pv.ReweightedWakeSleep, 4),
}
DISCRETE = {
    "elbo score": partial(pv.EvidenceLowerBound, 1, SCORE),
    "elbo leave": partial(pv.EvidenceLowerBound, 2, LEAVE),
    "analytic score": partial(pv.AnalyticKL, 2, SCORE),
    "analytic leave": partial(pv.AnalyticKL, 2, LEAVE),
    "iwae score": partial(pv.ImportanceWeighted, 2, SCORE),
    "vimco": partial(pv.VIMCO, 2),
    "renyi score": partial(pv.Renyi, 0.5, 2, SCORE),
    "miwae leave": partial(pv.MIWAE, 2, 1, LEAVE),
    "ciwae score": partial(pv.CIWAE, 0.3, 2, SCORE),
    "wake": partial(pv.ReweightedWakeSleep, 2),
}
SHAPED = {
    "free bits": partial(pv.FreeBits, 0.2),
    "free bits by site": partial(pv.FreeBits, 0.2, per="site", num_samples=2),
    "capacity": partial(pv.Capacity, 2.0, 1.5),
    "capacity rising": partial(pv.Capacity, 2.0, pv.linear(4)),
    "total correlation": partial(pv.TotalCorrelation, 4.0, num_data=100),
    "total correlation stratified": partial(
        pv.TotalCorrelation, 4.0, num_data=100, estimator="stratified"
    ),
    "mmd": partial(pv.MMD, 10.0),
}


def small(latent=pv.Normal, prior=None, net=pv.networks.mlp):
    return pv.VAE(
        prior=pv.StandardNormal(2) if prior is None else prior,
        likelihood=pv.Bernoulli(5, given=2, net=net),
        variational=latent(2, given=5, net=net),
    )


def dropping(given, out):
    return nn.Sequential(
        nn.Linear(math.prod(given[0]), 4), nn.Dropout(0.5), nn.Linear(4, math.prod(out))
    )


def discrete():
    return small(pv.Bernoulli, pv.Bernoulli(2))


def seeded(fn, seed=1):
    torch.manual_seed(seed)
    return fn()


def loss_of(bound, pair, *data):
    with OwnParameters():
        return bound.differentiable_loss(pair.model, pair.guide, *data)


def flat_gradient(loss, parameters):
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, grads)]
    )


def learned(pair):
    return [p for p in pair.parameters() if p.requires_grad]


def estimates(bound, pair, x, repeats=40):
    """Losses and gradients of independent runs, `[repeats]` and `[repeats, numbers]`."""
    runs = [loss_of(bound, pair, x) for _ in range(repeats)]
    return torch.stack([r.detach() for r in runs]), torch.stack(
        [flat_gradient(r, learned(pair)) for r in runs]
    )


def agrees(samples, truth, errors=5.0):
    return within(samples.mean(0), truth, samples.std(0) / len(samples) ** 0.5, errors)


def same_mean(a, b, errors=5.0):
    stderr = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    return within(a.mean(0), b.mean(0), stderr, errors)


def parts(pair):
    """The decoder and the encoder of a linear-Gaussian pair."""
    return (
        next(m for m in side.modules() if isinstance(m, nn.Linear))
        for side in (pair.likelihood, pair.variational)
    )


def gaussian_terms(pair, x):
    """E_q log p(x|z) and KL(q ‖ p) of each datum of a linear-Gaussian pair, with their gradients."""
    decoder, _ = parts(pair)
    q = pair.variational(x)
    spread = (
        (decoder.weight @ q.covariance_matrix @ decoder.weight.T).diagonal(dim1=-2, dim2=-1).sum(-1)
    )
    squares = (x - decoder(q.loc)).square().sum(-1) + spread
    reconstruction = -0.5 * x.shape[1] * math.log(2 * math.pi * WORLD.s**2) - squares / (
        2 * WORLD.s**2
    )
    kl = torch.distributions.kl_divergence(
        q, torch.distributions.MultivariateNormal(0 * q.loc, torch.eye(2).to(x))
    )
    return reconstruction, kl


def expected_kernel(mean, covariance):
    """E exp(-‖a‖² / 2d) for a ~ N(mean, covariance), d = 2."""
    wide = covariance + 2 * torch.eye(2).to(mean)
    exponent = -0.5 * (mean.unsqueeze(-2) @ torch.linalg.inv(wide) @ mean.unsqueeze(-1))[..., 0, 0]
    return exponent.exp() / (wide / 2).det().sqrt()


def expected_mmd(pair, x):
    q, n = pair.variational(x), x.shape[0]
    s, eye = q.covariance_matrix[0], torch.eye(2).to(x)
    apart = 1 - torch.eye(n).to(x)
    zz = 1 / n + (apart * expected_kernel(q.loc - q.loc.unsqueeze(1), 2 * s)).sum() / n**2
    uu = 1 / n + (1 - 1 / n) * expected_kernel(0 * q.loc[0], 2 * eye)
    return zz + uu - 2 * expected_kernel(q.loc, s + eye).mean()


def elbo(pair, x):
    reconstruction, kl = gaussian_terms(pair, x)
    return (reconstruction - kl).sum()


CLOSED = {
    "elbo": (pv.EvidenceLowerBound, elbo),
    "elbo, landing": (partial(pv.EvidenceLowerBound, 3, LANDING), elbo),
    "elbo, score": (partial(pv.EvidenceLowerBound, 2, LEAVE), elbo),
    "analytic": (partial(pv.AnalyticKL, 2), elbo),
    "iwae 1": (partial(pv.ImportanceWeighted, 1, DOUBLY), elbo),
    "renyi 1": (partial(pv.Renyi, 1.0, 3, DOUBLY), elbo),
    "miwae 1": (partial(pv.MIWAE, 3, 1, DOUBLY), elbo),
    "piwae 1": (partial(pv.PIWAE, 1, 1), elbo),
    "ciwae 1": (partial(pv.CIWAE, 1.0, 3), elbo),
    "free bits, used": (partial(pv.FreeBits, 0.01, per="site"), elbo),
    "free bits, free": (
        partial(pv.FreeBits, 50.0, per="site"),
        lambda pair, x: gaussian_terms(pair, x)[0].sum() - 50.0 * x.shape[0],
    ),
    "capacity": (
        partial(pv.Capacity, 3.0, 1.0),
        lambda pair, x: (
            gaussian_terms(pair, x)[0].sum()
            - 3 * (gaussian_terms(pair, x)[1] - 1.0).mean().abs() * len(x)
        ),
    ),
    "mmd": (
        partial(pv.MMD, 20.0, alpha=0.3),
        lambda pair, x: (
            gaussian_terms(pair, x)[0]
            - 0.7 * gaussian_terms(pair, x)[1]
            - 20 * expected_mmd(pair, x)
        ).sum(),
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_value_and_gradient_in_closed_form(name):
    make, closed = CLOSED[name]
    pair = WORLD.pair(shift=0.3, stretch=1.3)
    x = WORLD.sample(5)
    losses, grads = estimates(make(), pair, x, repeats=300)
    truth = -closed(pair, x)

    assert losses.std() / 300**0.5 < 0.1 * truth.abs()
    assert agrees(losses, truth.detach())
    assert agrees(grads, flat_gradient(truth, learned(pair)))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_exact_posterior(name):
    """All weights are equal: any bound is log p(x), and the model's gradient is that of log p(x)."""
    bound, pair, x = CONTINUOUS[name](), WORLD.pair(), WORLD.sample(5)
    decoder, _ = parts(pair)
    truth = -LinearGaussian(decoder.weight, decoder.bias, WORLD.s).log_evidence(x).sum()
    losses, grads = estimates(bound, pair, x, repeats=200)
    size = sum(p.numel() for p in decoder.parameters())
    assert [id(p) for p in learned(pair)[:2]] == [id(p) for p in decoder.parameters()]

    if name != "analytic":
        assert torch.allclose(losses, truth.detach(), rtol=1e-10)
    assert agrees(losses, truth.detach())
    assert agrees(grads[:, :size], flat_gradient(truth, list(decoder.parameters())))
    assert agrees(grads[:, size:], torch.zeros(()))
    if "doubly" in name or name == "landing":
        assert grads[:, size:].abs().max() < 1e-9
    else:
        assert grads[:, size:].abs().max() > 1e-3


@pytest.mark.parametrize(
    "make",
    [
        partial(pv.ImportanceWeighted, 5),
        partial(pv.Renyi, 0.5, 5),
        partial(pv.Renyi, -0.5, 5),
        partial(pv.Renyi, 2.0, 5),
        partial(pv.MIWAE, 2, 4),
        partial(pv.PIWAE, 2, 4),
        partial(pv.CIWAE, 0.5, 5),
    ],
)
def test_doubly_reparametrised_has_the_same_mean_and_less_variance(make):
    pair, x = WORLD.pair(shift=0.2, stretch=1.2), WORLD.sample(3).repeat(50, 1)
    size = sum(p.numel() for p in pair.likelihood.parameters())
    plain, doubly = (
        estimates(make(), pair, x, repeats=200) for make in (make, partial(make, gradient=DOUBLY))
    )

    assert same_mean(plain[0], doubly[0])
    assert same_mean(plain[1], doubly[1])
    assert doubly[1][:, size:].var(0).sum() < 0.5 * plain[1][:, size:].var(0).sum()


def test_piwae_is_one_bound_for_the_model_and_another_for_the_guide():
    pair, x = WORLD.pair(shift=0.3, stretch=1.3), WORLD.sample(5)
    size = sum(p.numel() for p in pair.likelihood.parameters())
    for gradient in ("reparametrised", DOUBLY):
        made = (
            pv.PIWAE(2, 3, gradient),
            pv.ImportanceWeighted(6, gradient),
            pv.MIWAE(2, 3, gradient),
        )
        ours, model, guide = (seeded(lambda b=b: estimates(b, pair, x, 1)[1][0]) for b in made)
        assert torch.allclose(ours[:size], model[:size])
        assert torch.allclose(ours[size:], guide[size:])
        assert not torch.allclose(model[:size], guide[:size])
        assert not torch.allclose(model[size:], guide[size:])


def test_landing_has_less_variance_near_the_posterior():
    pair, x = WORLD.pair(stretch=1.1), WORLD.sample(5)
    plain, landing = (
        estimates(pv.EvidenceLowerBound(1, g), pair, x, 300)[1] for g in ("reparametrised", LANDING)
    )
    assert landing.var(0)[-10:].sum() < 0.5 * plain.var(0)[-10:].sum()


def hierarchical(upwards):
    """x ~ p(x|a), a ~ p(a|b), b ~ p(b); the guide draws a, then b given a, or b first, as the model does."""
    scale = nn.Parameter(torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64))

    class Hierarchy(nn.Module):
        def __init__(self):
            super().__init__()
            self.v = scale

        def model(self, x):
            with pyro.plate("data", x.shape[0]):
                b = pyro.sample("b", dist.Normal(torch.zeros_like(x), 1.0))
                a = pyro.sample("a", dist.Normal(self.v[0] * b, 0.8))
                pyro.sample("x", dist.Normal(a, 0.5), obs=x)

        def guide(self, x):
            with pyro.plate("data", x.shape[0]):
                if upwards:
                    a = pyro.sample("a", dist.Normal(self.v[1] + 0.6 * x, self.v[2].exp()))
                    pyro.sample("b", dist.Normal(self.v[3] * a, 0.7))
                else:
                    b = pyro.sample("b", dist.Normal(self.v[3] * x, 0.7))
                    pyro.sample("a", dist.Normal(self.v[1] + 0.6 * x + 0.2 * b, self.v[2].exp()))

    return Hierarchy()


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize(
    "make", [partial(pv.EvidenceLowerBound, 1, LANDING), partial(pv.AnalyticKL, 1)]
)
def test_latents_that_depend_on_each_other(make, upwards):
    pair, x = hierarchical(upwards), torch.randn(4, dtype=torch.float64).repeat(100)
    plain, other = (estimates(bound, pair, x, 100) for bound in (pv.EvidenceLowerBound(), make()))

    assert same_mean(plain[0], other[0])
    assert same_mean(plain[1], other[1])
    assert not torch.allclose(plain[1], other[1])


def test_bounds_rise_on_the_same_draws():
    pair, x = WORLD.pair(shift=0.3, stretch=1.3), WORLD.sample(5)
    losses = {}
    for m, k in ((100, 1), (20, 5), (2, 50), (1, 100)):
        losses[k] = torch.stack(
            [seeded(lambda m=m, k=k: loss_of(pv.MIWAE(m, k), pair, x), s) for s in range(50)]
        )
    for fewer, more in itertools.pairwise(losses):
        assert (losses[more] < losses[fewer]).all()
    iwae = torch.stack(
        [seeded(lambda: loss_of(pv.ImportanceWeighted(100), pair, x), s) for s in range(50)]
    )
    assert torch.allclose(iwae, losses[100])

    truth = WORLD.log_evidence(x).sum()
    stderr = {k: (v.std() / len(v) ** 0.5).item() for k, v in losses.items()}
    assert all(-losses[k].mean() < truth + 5 * stderr[k] for k in losses)
    assert -losses[1].mean() < truth - 5 * stderr[1]


def test_renyi_falls_with_alpha_between_its_known_cases():
    pair, x = WORLD.pair(shift=0.3, stretch=1.3), WORLD.sample(5)
    orders = [-1.0, 0.0, 0.5, 0.999999, 1.0, 2.0]
    losses = {a: seeded(lambda a=a: loss_of(pv.Renyi(a, 20), pair, x)) for a in orders}

    for low, high in itertools.pairwise(losses):
        assert losses[low] < losses[high]
    assert torch.allclose(losses[0.0], seeded(lambda: loss_of(pv.ImportanceWeighted(20), pair, x)))
    assert torch.allclose(losses[1.0], losses[0.999999], atol=1e-3)
    assert [pv.Renyi(a, 2).bound for a in orders] == [None, *["lower"] * 5]


def test_weights_are_unbiased_for_the_evidence():
    pair, x = WORLD.pair(shift=0.1, stretch=1.2), WORLD.sample(5)
    with OwnParameters():
        run = Run(pair.model, pair.guide, (x,), {}, 20_000)
    ratio = (run.weights.log_weight - WORLD.log_evidence(x)).exp().detach()
    assert ratio.std(0).max() > 0.1
    assert agrees(ratio, torch.ones(5))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (partial(pv.EvidenceLowerBound, 5), partial(Trace_ELBO, num_particles=5)),
        (partial(pv.AnalyticKL, 5), partial(TraceMeanField_ELBO, num_particles=5)),
        (partial(pv.Renyi, 0.5, 5), partial(RenyiELBO, alpha=0.5, num_particles=5)),
        (partial(pv.ImportanceWeighted, 5), partial(RenyiELBO, alpha=0.0, num_particles=5)),
    ],
)
def test_equals_pyro_on_the_same_draws_of_a_full_plate(ours, theirs):
    pair, x = small(), torch.rand(7, 5).round()
    theirs = theirs(vectorize_particles=True, max_plate_nesting=1)
    a = seeded(lambda: ours().loss(pair.model, pair.guide, x))
    b = seeded(lambda: theirs.loss(pair.model, pair.guide, x))
    assert a == pytest.approx(b, rel=1e-5)


def subsampled(size, stretch=1.0):
    inner = WORLD.pair(stretch=stretch)

    def model(x):
        with pyro.plate("data", x.shape[0], subsample_size=size) as i:
            z = pyro.sample("z", inner.prior())
            pyro.sample("x", inner.likelihood(z), obs=x[i])

    def guide(x):
        with pyro.plate("data", x.shape[0], subsample_size=size) as i:
            pyro.sample("z", inner.variational(x[i]))

    return pv.Pair(model, guide)


@pytest.mark.parametrize("gradient", ["reparametrised", DOUBLY])
def test_subsampled_plate_scales_the_bound_not_the_weights(gradient):
    x = WORLD.sample(20)
    bound = pv.ImportanceWeighted(5, gradient)
    full, part = (estimates(bound, subsampled(size, 1.5), x, 300) for size in (20, 2))
    renyi = RenyiELBO(alpha=0.0, num_particles=5, vectorize_particles=True, max_plate_nesting=1)
    pair = subsampled(2, 1.5)
    theirs = torch.tensor(
        [renyi.loss(pair.model, pair.guide, x) for _ in range(300)], dtype=torch.float64
    )

    assert same_mean(full[0], part[0])
    assert same_mean(full[1], part[1])
    assert not same_mean(full[0], theirs)
    assert -full[0].mean() < WORLD.log_evidence(x).sum()


def test_subsampled_plate_with_the_posterior_is_exact():
    x = WORLD.sample(1).repeat(20, 1)
    pair = subsampled(3)
    for name in CONTINUOUS.keys() - {"analytic"}:
        loss = loss_of(CONTINUOUS[name](), pair, x)
        assert -loss.item() == pytest.approx(WORLD.log_evidence(x).sum().item(), rel=1e-9)


class Tables(nn.Module):
    """z of three values, x of four, every probability learned."""

    def __init__(self):
        super().__init__()
        for name, shape in (("p_z", (3,)), ("p_x", (3, 4)), ("q_z", (4, 3))):
            self.register_parameter(name, nn.Parameter(torch.randn(shape, dtype=torch.float64)))

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Categorical(logits=self.p_z))
            pyro.sample("x", dist.Categorical(logits=self.p_x[z]), obs=x)

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Categorical(logits=self.q_z[x]))

    def pairs_of_draws(self, x):
        """Over all (z₁, z₂): their probability, log p(x, z), and log q(z | x), `[9]`, `[2, 9]` and `[2, 9]`."""
        z = torch.tensor(list(itertools.product(range(3), repeat=2))).T
        log_p = self.p_z.log_softmax(-1)[z] + self.p_x.log_softmax(-1)[z, x]
        log_q = self.q_z.log_softmax(-1)[x][z]
        return log_q.sum(0).exp(), log_p, log_q

    def expected(self, name):
        """The exact expectation of an objective of two draws, summed over x; of its surrogate, for wake-sleep."""
        total = 0.0
        for x in range(4):
            probability, log_p, log_q = self.pairs_of_draws(x)
            log_w = log_p - log_q
            iwae = log_w.logsumexp(0) - math.log(2)
            renyi = 2 * ((0.5 * log_w).logsumexp(0) - math.log(2))
            value = {
                "elbo": log_w.mean(0),
                "analytic": log_w.mean(0),
                "miwae": log_w.mean(0),
                "iwae": iwae,
                "vimco": iwae,
                "renyi": renyi,
                "ciwae": 0.3 * log_w.mean(0) + 0.7 * iwae,
                "wake": (log_w.softmax(0).detach() * (log_p + log_q)).sum(0),
            }[name.split()[0]]
            total = (
                total + ((probability.detach() if name == "wake" else probability) * value).sum()
            )
        return total


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_gradient_by_enumeration(name):
    pair = Tables()
    x, copies = torch.arange(4).repeat(250), 250
    losses, grads = (e / copies for e in estimates(DISCRETE[name](), pair, x, repeats=60))
    truth = -pair.expected(name)

    assert agrees(losses, -pair.expected("iwae" if name == "wake" else name).detach())
    exact = flat_gradient(truth, learned(pair))
    assert exact.abs().max() > 20 * (grads.std(0) / 60**0.5).max()
    assert agrees(grads, exact)


@pytest.mark.parametrize("gradient", [SCORE, LEAVE])
def test_discrete_gradient_under_a_kl_weight(gradient):
    pair, beta = Tables(), 0.3
    objective = pv.KLWeight(pv.Objective(pair, pv.EvidenceLowerBound(2, gradient)), beta)
    exact = 0.0
    for x in range(4):
        log_q = pair.q_z[x].log_softmax(-1)
        term = pair.p_x.log_softmax(-1)[:, x] + beta * (pair.p_z.log_softmax(-1) - log_q)
        exact = exact - (log_q.exp() * term).sum() / 4
    x = torch.arange(4).repeat(250)
    losses = [objective(x) for _ in range(60)]
    grads = torch.stack([flat_gradient(loss, learned(pair)) for loss in losses])

    assert agrees(torch.stack(losses).detach(), exact.detach())
    assert agrees(grads, flat_gradient(exact, learned(pair)))


def test_leaving_one_out_lowers_the_variance():
    x, pair = torch.arange(4).repeat(50), Tables()
    var = {
        g: estimates(pv.ImportanceWeighted(5, g), pair, x, 100)[1].var(0).sum()
        for g in (SCORE, LEAVE)
    }
    assert var[LEAVE] < 0.5 * var[SCORE]


def test_mixed_latents_use_both_kinds_of_gradient():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            values = torch.tensor([0.3, -0.4, 0.6], dtype=torch.float64)
            self.logit, self.loc, self.scale = map(nn.Parameter, values)

        def model(self, x):
            with pyro.plate("data", x.shape[0]):
                c = pyro.sample("c", dist.Bernoulli(0.0 * x + 0.5))
                z = pyro.sample("z", dist.Normal(c, 1.0))
                pyro.sample("x", dist.Normal(z, 0.7), obs=x)

        def guide(self, x):
            with pyro.plate("data", x.shape[0]):
                c = pyro.sample("c", dist.Bernoulli(logits=self.logit + 0.0 * x))
                pyro.sample("z", dist.Normal(self.loc + 0.5 * c + 0.5 * x, self.scale))

        def exact(self, x):
            total = 0.0
            for c in (0.0, 1.0):
                p = (self.logit if c else -self.logit).sigmoid()
                mean = self.loc + 0.5 * c + 0.5 * x
                log_x = (
                    -0.5 * math.log(2 * math.pi * 0.49) - ((x - mean) ** 2 + self.scale**2) / 0.98
                )
                kl = 0.5 * (self.scale**2 + (mean - c) ** 2 - 1) - self.scale.log()
                total = total + p * (log_x - kl + math.log(0.5) - p.log())
            return total.sum()

    pair, x = Both(), torch.randn(3, dtype=torch.float64).repeat(100)
    for bound in (pv.EvidenceLowerBound(1, SCORE), pv.AnalyticKL(3, LEAVE)):
        losses, grads = estimates(bound, pair, x, 100)
        truth = -pair.exact(x)
        assert agrees(losses, truth.detach())
        assert agrees(grads, flat_gradient(truth, learned(pair)))


@pytest.mark.parametrize(
    "name", [n for n in {**CONTINUOUS, **SHAPED} if n not in ("iwae score", "vimco", "wake")]
)
def test_discrete_latents_are_refused_without_a_gradient_for_them(name):
    with pytest.raises(
        ValueError, match=r"latent 'z' \(Bernoulli\) has no reparametrised draws.*pv\.VIMCO"
    ):
        loss_of({**CONTINUOUS, **SHAPED}[name](), discrete(), torch.ones(4, 5))


def test_free_bits_by_dimension():
    pair, x = small(prior=pv.Normal(2)), torch.rand(50, 5).round()
    q, p = pair.variational(x).base_dist, pair.prior().base_dist
    kl = torch.distributions.kl_divergence(q, p).mean(0)
    level = kl.mean().item()
    assert kl.min() < level < kl.max()
    free, plain = (
        seeded(lambda b=b: loss_of(b, pair, x)) for b in (pv.FreeBits(level), pv.AnalyticKL())
    )

    assert free.item() == pytest.approx((plain + 50 * (level - kl.min())).item(), rel=1e-5)
    none = seeded(lambda: loss_of(pv.FreeBits(0.0), pair, x))
    assert none.item() == pytest.approx(plain.item(), rel=1e-6)
    assert (
        flat_gradient(loss_of(pv.FreeBits(1e3), pair, x), list(pair.prior.parameters())).abs().max()
        == 0
    )


@pytest.mark.parametrize("latent", [pv.MultivariateNormal, partial(pv.LowRankNormal, rank=1)])
def test_closed_form_of_dependent_normals(latent):
    pair = pv.VAE(
        prior=pv.Normal(2), likelihood=pv.Bernoulli(5, given=2), variational=latent(2, given=5)
    )
    x = torch.rand(4, 5).round()
    with OwnParameters():
        kl = find_kl(Run(pair.model, pair.guide, (x,), {}, 3))["z"]
        run = Run(pair.model, pair.guide, (x,), {}, 20_000)
    ratio = (run.weights.log_variational - run.weights.log_joint + run.weights.log_likelihood).detach()

    assert torch.equal(kl[0], kl[2])
    assert agrees(ratio, kl[0].detach())


def test_free_bits_without_a_closed_form():
    pair = pv.VAE(
        prior=pv.StudentT(2), likelihood=pv.Bernoulli(5, given=2), variational=pv.Normal(2, given=5)
    )
    x = torch.rand(50, 5).round()
    free, plain = (
        seeded(lambda b=b: loss_of(b, pair, x)) for b in (pv.FreeBits(0.0), pv.AnalyticKL())
    )
    assert free >= plain - 1e-3
    with pytest.raises(
        ValueError, match=r"latent 'z': a MultivariateNormal is not independent.*per='site'"
    ):
        loss_of(pv.FreeBits(0.1), small(pv.MultivariateNormal), x)


@pytest.mark.parametrize(
    "bound",
    [
        partial(pv.ImportanceWeighted, 5, DOUBLY),
        partial(pv.PIWAE, 2, 3),
        partial(pv.ReweightedWakeSleep, 5),
    ],
    ids=repr,
)
def test_dropout_is_refused_where_the_model_is_run_twice(bound):
    pair, x = small(net=dropping), torch.rand(7, 5).round()
    with pytest.raises(
        ValueError, match=r"the model twice at the same draws, .*random beyond its latents"
    ):
        loss_of(bound(), pair, x)
    pair.eval()
    loss_of(bound(), pair, x)


def test_dropout_is_refused_where_the_guide_is_run_twice():
    net = nn.Dropout(0.5)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            a = pyro.sample("a", dist.Normal(net(1 + x), 1.0))
            pyro.sample("b", dist.Normal(a, 1.0))

    with pytest.raises(ValueError, match=r"the guide twice at the same draws"):
        pv.EvidenceLowerBound(1, LANDING).loss_and_grads(model, guide, torch.ones(50))


def test_sticking_the_landing_takes_dropout_where_a_latent_depends_on_no_other():
    """The expectation of its gradient is that of the plain one, the masks averaged over as well."""
    pair, x = small(net=dropping), torch.rand(7, 5).round()
    found = []
    for gradient in ("reparametrised", LANDING):
        draws = []
        for _ in range(1_000):
            pair.zero_grad()
            loss_of(pv.EvidenceLowerBound(4, gradient), pair, x).backward()
            draws.append(
                torch.cat([p.grad.flatten() for p in pair.parameters() if p.grad is not None])
            )
        draws = torch.stack(draws)
        found.append((draws.mean(0), draws.var(0) / len(draws)))
    (a, va), (b, vb) = found
    assert within(a, b, (va + vb).sqrt() + 1e-6)


def test_capacity_follows_its_schedule_and_a_checkpoint():
    pair, x = small(), torch.rand(7, 5).round()
    bound = pv.Capacity(2.0, pv.linear(4, to=2.0))
    objective = pv.Objective(pair, bound)
    seen = []
    for _ in range(6):
        objective(x)
        seen.append(bound.nats.item())
    assert seen == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]

    objective.eval()
    objective(x)
    bound.loss(pair.model, pair.guide, x)
    assert int(bound.steps) == 6
    again = pv.Objective(small(), pv.Capacity(2.0, pv.linear(4, to=2.0)))
    again.load_state_dict(objective.state_dict())
    assert (int(again.elbo.steps), again.elbo.nats.item()) == (6, 2.0)


def test_total_correlation_at_one_is_the_elbo():
    pair, x = small(), torch.rand(7, 5).round()
    plain = seeded(lambda: loss_of(pv.EvidenceLowerBound(), pair, x))
    for estimator in ("weighted", "stratified"):
        ours = seeded(lambda e=estimator: loss_of(pv.TotalCorrelation(1.0, 100, e), pair, x))
        assert ours.item() == pytest.approx(plain.item(), rel=1e-6)


def test_total_correlation_as_in_the_paper():
    pair, x, beta, total = small(), torch.rand(6, 5).round(), 5.0, 40
    q = pair.variational(x).base_dist
    run = seeded(lambda: Run(pair.model, pair.guide, (x,), {}, 1))
    z = run.guide["z"]["value"]
    expected = run.weights.log_likelihood[0] + run.weights.log_joint[0] - run.weights.log_likelihood[0]
    for i in range(6):
        each = torch.stack([dist.Normal(q.loc[j], q.scale[j]).log_prob(z[i]) for j in range(6)])
        log_q_z = (each.sum(1).exp().sum() / (6 * total)).log()
        log_product = (each.exp().sum(0) / (6 * total)).log().sum()
        information = each[i].sum() - log_q_z
        expected[i] = expected[i] - information - beta * (log_q_z - log_product) - log_product
    ours = seeded(lambda: loss_of(pv.TotalCorrelation(beta, total), pair, x))
    assert ours.item() == pytest.approx(-expected.sum().item(), rel=1e-5)


def test_stratified_weights_are_unbiased_for_the_aggregate():
    """Over all batches that hold datum 0 first, the estimate averages to the mean over the data."""
    total, n = 6, 4
    density = torch.rand(total, dtype=torch.float64)
    w = (
        pv.TotalCorrelation(1.0, total, "stratified")
        ._log_weights(torch.zeros(n, n, 1, dtype=torch.float64))
        .exp()
    )
    batches = [(0, *rest) for rest in itertools.permutations(range(1, total), n - 1)]
    estimate = torch.stack([(w[0] * density[list(batch)]).sum() for batch in batches]).mean()

    assert torch.allclose(w.sum(1), torch.ones(n, dtype=torch.float64))
    assert torch.allclose(estimate, density.mean())


def test_mmd_without_weight_is_what_alpha_leaves():
    pair, x = small(), torch.rand(7, 5).round()
    plain = seeded(lambda: loss_of(pv.AnalyticKL(), pair, x))
    assert seeded(lambda: loss_of(pv.MMD(0.0, alpha=0.0), pair, x)).item() == pytest.approx(
        plain.item(), rel=1e-6
    )
    linear_kernel = seeded(lambda: loss_of(pv.MMD(3.0, lambda a, b: a @ b.T), pair, x))
    run = seeded(lambda: Run(pair.model, pair.guide, (x,), {}, 1))
    distance = (run.guide["z"]["value"].mean(0) - run.draw_from_prior()["z"].mean(0)).square().sum()
    assert linear_kernel.item() == pytest.approx(
        (7 * 3 * distance - run.weights.log_likelihood.sum()).item(), rel=1e-5
    )


def test_kl_weight_tempers_the_latents():
    pair, x = small(), torch.rand(7, 5).round()
    for beta in (0.3, 2.0):
        for bound, theirs in (
            (pv.EvidenceLowerBound(), Trace_ELBO()),
            (pv.AnalyticKL(), TraceMeanField_ELBO()),
        ):
            a, b = (
                seeded(partial(pv.KLWeight(pv.Objective(pair, e), beta), x))
                for e in (bound, theirs)
            )
            assert a.item() == pytest.approx(b.item(), rel=1e-5)
    for bound in (
        pv.ImportanceWeighted(3, DOUBLY),
        pv.PIWAE(2, 2, DOUBLY),
        pv.ReweightedWakeSleep(3),
    ):
        with pytest.raises(
            ValueError, match=f"gradient: '{bound.gradient}' is wrong where a KL weight"
        ):
            pv.KLWeight(pv.Objective(pair, bound), 0.5)(x)


def pairs():
    for makes, make_pair in ((CONTINUOUS, small), (DISCRETE, discrete), (SHAPED, small)):
        for name, make in makes.items():
            yield pytest.param(make, make_pair, id=f"{name}, {make_pair.__name__}")


@pytest.mark.parametrize(("make", "make_pair"), [*pairs()])
def test_trains_under_svi_and_objective(make, make_pair):
    x = torch.rand(6, 5).round()
    pair = make_pair()
    before = [p.detach().clone() for p in learned(pair)]
    svi = SVI(pair.model, pair.guide, Adam({"lr": 1e-2}), loss=make())
    assert all(math.isfinite(svi.step(x)) for _ in range(3))
    assert math.isfinite(svi.evaluate_loss(x))
    assert all(not torch.equal(p, b) for p, b in zip(learned(pair), before) if p.numel())

    pyro.clear_param_store()
    pair = make_pair()
    before = [p.detach().clone() for p in learned(pair)]
    objective = pv.Objective(pair, make())
    optim = torch.optim.Adam(pair.parameters(), lr=1e-2)
    for _ in range(3):
        optim.zero_grad()
        loss = objective(x)
        loss.backward()
        optim.step()
        assert loss.isfinite()
    assert all(not torch.equal(p, b) for p, b in zip(learned(pair), before))
    assert not list(pyro.get_param_store().keys())


@pytest.mark.parametrize("gradient", ["reparametrised", DOUBLY])
def test_hand_written_functions_under_svi(gradient):
    encoder = nn.Linear(1, 1)

    def model(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(encoder(x.unsqueeze(-1)).squeeze(-1), scale))

    x = 3 + 1.25**0.5 * torch.randn(500)
    svi = SVI(model, guide, Adam({"lr": 0.05}), loss=pv.ImportanceWeighted(3, gradient))
    for _ in range(200):
        svi.step(x)
    # the posterior of N(loc, 1), N(z, 1/4): mean (loc + 4 x) / 5, variance 1/5
    assert pyro.param("loc").item() == pytest.approx(x.mean().item(), abs=0.15)
    assert pyro.param("scale").item() == pytest.approx(0.2**0.5, rel=0.1)
    assert encoder.weight.item() == pytest.approx(0.8, abs=0.1)


class Loss(nn.Module):
    def __init__(self, bound, pair):
        super().__init__()
        self.bound, self.pair = bound, pair

    def forward(self, x):
        return self.bound.differentiable_loss(self.pair.model, self.pair.guide, x)


@pytest.mark.parametrize(("make", "make_pair"), [*pairs()])
def test_exports_with_a_symbolic_batch(make, make_pair):
    pair = make_pair()
    loss = Loss(make(), pair)
    with OwnParameters(), unvalidated():
        exported = torch.export.export(
            loss,
            (torch.rand(6, 5).round(),),
            dynamic_shapes=({0: torch.export.Dim("n", min=2)},),
            strict=False,
        ).module()
        x = torch.rand(9, 5).round()
        theirs = seeded(lambda: exported(x))
        eager = seeded(lambda: loss(x))

        assert torch.equal(theirs, eager)
        ours, traced = (
            flat_gradient(eager, learned(pair)),
            flat_gradient(theirs, learned(exported.pair)),
        )
    torch.testing.assert_close(traced, ours, rtol=1e-5, atol=1e-6)
    assert ours.abs().max() > 0


def test_wake_sleep_weighs_each_datum_where_pyro_weighs_the_batch():
    pair, x = discrete(), torch.rand(7, 5).round()
    theirs = ReweightedWakeSleep(num_particles=5, max_plate_nesting=1)
    for rows, equal in ((x[:1], True), (x, False)):
        a = seeded(lambda r=rows: pv.ReweightedWakeSleep(5).loss(pair.model, pair.guide, r))
        b = seeded(lambda r=rows: theirs.loss(pair.model, pair.guide, r))[0].item()
        assert (a == pytest.approx(b, rel=1e-5)) is equal


def test_vamp_flow_and_importance_weights_together():
    q = pv.Flow(2, given=5)
    pair = pv.VAE(
        prior=pv.Vamp(q, torch.rand(3, 5)), likelihood=pv.Bernoulli(5, given=2), variational=q
    )
    for gradient in ("reparametrised", DOUBLY):
        loss = loss_of(pv.ImportanceWeighted(3, gradient), pair, torch.ones(4, 5))
        assert flat_gradient(loss, learned(pair)).isfinite().all()


def test_cyclical_schedule():
    schedule = pv.cyclical(12, cycles=3, rise=0.5, to=2.0)
    assert [schedule(s) for s in range(14)] == [0.0, 1.0, 2.0, 2.0] * 3 + [2.0, 2.0]
    assert pv.cyclical(4, cycles=1, rise=1.0)(3) == pv.linear(4)(3)


def outside(x):
    pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("data", x.shape[0]):
        pyro.sample("x", dist.Normal(torch.zeros(5), 1.0).to_event(1), obs=x)


def unobserved(x):
    with pyro.plate("data", x.shape[0]):
        pyro.sample("z", dist.Normal(0.0, 1.0))


X = torch.ones(4, 5)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: pv.ImportanceWeighted(0), ValueError, "num_samples: expected a positive whole number, got 0"),
        (
            lambda: pv.ImportanceWeighted(2.5),
            TypeError,
            "num_samples: expected a positive whole number, got 2.5",
        ),
        (
            lambda: pv.ImportanceWeighted(2, "pathwise"),
            ValueError,
            "gradient: ImportanceWeighted admits.*'pathwise'",
        ),
        (
            lambda: pv.AnalyticKL(1, LANDING),
            ValueError,
            "gradient: AnalyticKL admits.*'sticking_the_landing'",
        ),
        (lambda: pv.PIWAE(2, 2, SCORE), ValueError, "gradient: PIWAE admits"),
        (
            lambda: pv.VIMCO(1),
            ValueError,
            "num_samples: leaving one draw out takes at least 2, got 1",
        ),
        (lambda: pv.ReweightedWakeSleep(1), ValueError, "num_samples: expected a whole number of at least 2, got 1"),
        (lambda: pv.MIWAE(0, 2), ValueError, "num_groups: expected a positive whole number, got 0"),
        (lambda: pv.MIWAE(2, 0), ValueError, "num_samples: expected a positive whole number, got 0"),
        (
            lambda: pv.CIWAE(1.5, 2),
            ValueError,
            r"beta: expected a finite number within \[0, 1\], got 1.5",
        ),
        (
            lambda: pv.CIWAE(-0.5, 2),
            ValueError,
            r"beta: expected a finite number within \[0, 1\], got -0.5",
        ),
        (lambda: pv.Renyi(math.inf, 2), ValueError, "alpha: expected a finite number, got inf"),
        (
            lambda: pv.FreeBits(-1.0),
            ValueError,
            "nats: expected a finite number of at least 0, got -1",
        ),
        (
            lambda: pv.FreeBits(1.0, per="group"),
            ValueError,
            "per: expected 'dimension' or 'site', got 'group'",
        ),
        (lambda: pv.Capacity(-1.0, 2.0), ValueError, "gamma: expected.*at least 0, got -1"),
        (lambda: pv.Capacity(1.0, -2.0), ValueError, "capacity: expected.*at least 0, got -2"),
        (lambda: pv.TotalCorrelation(-1.0, 10), ValueError, "beta: expected.*at least 0, got -1"),
        (
            lambda: pv.TotalCorrelation(1.0, 10, "mean"),
            ValueError,
            "estimator: expected 'weighted' or 'stratified'",
        ),
        (
            lambda: loss_of(pv.TotalCorrelation(1.0, 3), small(), X),
            ValueError,
            "num_data.*at least the 4 rows",
        ),
        (
            lambda: loss_of(pv.TotalCorrelation(1.0, 9, "stratified"), small(), X[:1]),
            ValueError,
            "stratified.*at least 2 rows, got 1.*batch_size",
        ),
        (
            lambda: loss_of(pv.TotalCorrelation(1.0, 9), hierarchical(True), X[:, 0]),
            ValueError,
            "one latent, got a, b",
        ),
        (lambda: pv.MMD(-1.0), ValueError, "weight: expected.*at least 0, got -1"),
        (lambda: pv.MMD(1.0, alpha=2.0), ValueError, "alpha: expected.*within"),
        (lambda: pv.MMD(1.0, "rbf"), TypeError, "kernel: expected a function of two tensors"),
        (
            lambda: pv.cyclical(3, cycles=4),
            ValueError,
            "steps: expected at least as many as cycles=4, got 3",
        ),
        (lambda: pv.cyclical(4, rise=0.0), ValueError, "rise: expected a part of a cycle"),
        (
            lambda: pv.EvidenceLowerBound().loss(
                outside, lambda x: pyro.sample("z", dist.Normal(0.0, 1.0)), X
            ),
            ValueError,
            "site 'z' of the model is outside the plate over the data",
        ),
        (
            lambda: pv.EvidenceLowerBound().loss(unobserved, unobserved, X),
            ValueError,
            "observes nothing.*pass obs=x",
        ),
        (
            lambda: pv.EvidenceLowerBound().loss(small().model, lambda x: None, X),
            ValueError,
            "lacks the latent 'z'",
        ),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_undeclared_event_dimension_is_refused():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample(
                "x", dist.Normal(0.0 * z, 1.0).expand([7, x.shape[0]]), obs=x.T.expand(7, -1)
            )

    with (
        unvalidated(),
        pytest.raises(ValueError, match=r"site 'x' has log-probabilities of shape.*to_event"),
    ):
        pv.EvidenceLowerBound().loss(model, unobserved, torch.ones(4, 1))


def test_each_says_what_it_bounds():
    made = {name: make() for name, make in {**CONTINUOUS, **DISCRETE, **SHAPED}.items()}
    none = {name for name, bound in made.items() if bound.bound is None}
    assert none == {
        name for name in made if name.startswith(("renyi neg", "capacity", "total", "mmd"))
    }
    assert {bound.bound for bound in made.values()} == {"lower", None}
