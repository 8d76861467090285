"""Pairs whose bounds are known, tables of all bounds, and what compares them."""

import itertools
import math
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.pairs.parameters import OwnParameters
from tests.oracles import linear_gaussian, within

WORLD = linear_gaussian(d=2, n=4)
X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
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


def hierarchical(upwards):
    """x ~ p(x|a), a ~ p(a|b), b ~ p(b). The guide draws a first, upwards, or b."""
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
        """Of all (z₁, z₂): their probability `[9]`, log p(x, z) and log q(z | x) `[2, 9]`."""
        z = torch.tensor(list(itertools.product(range(3), repeat=2))).T
        log_p = self.p_z.log_softmax(-1)[z] + self.p_x.log_softmax(-1)[z, x]
        log_q = self.q_z.log_softmax(-1)[x][z]
        return log_q.sum(0).exp(), log_p, log_q

    def expected(self, name):
        """The exact expectation of an objective of two draws; of its surrogate, for wake-sleep."""
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
