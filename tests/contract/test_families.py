"""One table of families through one contract."""

import itertools
import math
from functools import partial
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import pytest
import torch
import zuko
from pyro import poutine
from torch import nn

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss


def vamp(event_shape):
    return pv.Vamp(pv.Normal(event_shape, given=4), torch.randn(3, 4))


def free_vamp(event_shape):
    return pv.Vamp(pv.Normal(event_shape, given=4), 3, learned_weights=True, within=(-3, 3))


def aggregate(event_shape):
    return pv.Aggregate(pv.Normal(event_shape, given=4), torch.randn(3, 4))


class UniformSpheres:
    """Uniform on the sphere of the last dimension."""

    def sample(self, shape):
        z = torch.randn(shape).double()
        return z / z.norm(dim=-1, keepdim=True)

    def log_prob(self, z):
        d = z.shape[-1]
        return torch.full(
            z.shape[:-1], math.lgamma(d / 2) - d / 2 * math.log(math.pi) - math.log(2)
        ).double()


class Simplices:
    """Dirichlet over the last dimension, heavy at the edges."""

    def sample(self, shape):
        return dist.Dirichlet(torch.full(shape[1:], 0.6).double()).sample(shape[:1])

    def log_prob(self, a):
        return dist.Dirichlet(torch.full(a.shape[1:], 0.6).double()).log_prob(a)


def one_hot_vectors(event_shape):
    """All rows of zeros and a single 1."""
    rows = itertools.product(
        torch.eye(event_shape[-1]).double(), repeat=math.prod(event_shape[:-1])
    )
    return torch.stack([torch.stack(r).reshape(event_shape) for r in rows])


Gumbel = pv.family(dist.Gumbel, "loc", "scale")

LogNormal = pv.family(dist.LogNormal, "loc", "scale")

SMALL_FLOW = {"transforms": 1, "hidden_features": (16,)}

ONE = torch.tensor(1.0, dtype=torch.float64)

# What the expectation under each family is computed with: a density that covers it, or the number
# of its values
REAL, POSITIVE = dist.Cauchy(0 * ONE, ONE), dist.HalfCauchy(ONE)

UNIT, COUNT = dist.Kumaraswamy(ONE / 2, ONE / 2), dist.Geometric(0.3 * ONE)

SPHERE, SIMPLEX = UniformSpheres(), Simplices()

ANGLE = dist.Uniform(-math.pi * ONE, math.pi * ONE)


def totals_of_three(event_shape):
    """All counts whose sum over the last dimension is 3."""
    rows = [row for row in itertools.product(range(4), repeat=event_shape[-1]) if sum(row) == 3]
    tables = itertools.product(rows, repeat=math.prod(event_shape[:-1]))
    return torch.tensor(list(tables)).double().reshape(-1, *event_shape)


def missing_normal(event_shape, given=None):
    return pv.missing(pv.Normal(event_shape, given))


FAMILIES = {
    "Normal": (pv.Normal, REAL),
    "MultivariateNormal": (pv.MultivariateNormal, REAL),
    "LowRankNormal": (partial(pv.LowRankNormal, rank=2), REAL),
    "Laplace": (pv.Laplace, REAL),
    "Logistic": (pv.Logistic, REAL),
    "StudentT": (pv.StudentT, REAL),
    "Bernoulli": (pv.Bernoulli, 2),
    "ContinuousBernoulli": (pv.ContinuousBernoulli, UNIT),
    "Categorical": (partial(pv.Categorical, classes=5), 5),
    "Poisson": (pv.Poisson, COUNT),
    "NegativeBinomial": (pv.NegativeBinomial, COUNT),
    "Normal of one scale": (partial(pv.Normal, scale="shared"), REAL),
    "Normal of free scales": (partial(pv.Normal, scale="free"), REAL),
    "LogitNormal": (pv.LogitNormal, dist.Uniform(0 * ONE, ONE)),
    "VonMises": (pv.VonMises, ANGLE),
    "Binomial": (partial(pv.Binomial, total_count=3), 4),
    "DiscretisedLogistic": (partial(pv.DiscretisedLogistic, levels=5), 5),
    "DiscretisedLogisticMixture": (
        partial(pv.DiscretisedLogisticMixture, levels=5, components=2),
        5,
    ),
    "Ordinal": (partial(pv.Ordinal, classes=5), 5),
    "Ordinal of two classes": (partial(pv.Ordinal, classes=2), 2),
    "ZeroInflatedPoisson": (pv.ZeroInflatedPoisson, COUNT),
    "ZeroInflatedNegativeBinomial": (pv.ZeroInflatedNegativeBinomial, COUNT),
    "GammaPoisson": (pv.GammaPoisson, COUNT),
    "GammaPoisson of no dispersion": (partial(pv.GammaPoisson, dispersion=0.0), COUNT),
    "ZeroInflatedGammaPoisson": (pv.ZeroInflatedGammaPoisson, COUNT),
    "Multinomial": (partial(pv.Multinomial, total_count=3), totals_of_three),
    "DirichletMultinomial": (partial(pv.DirichletMultinomial, total_count=3), totals_of_three),
    "missing": (missing_normal, REAL),
    "Gamma": (pv.Gamma, POSITIVE),
    "Beta": (pv.Beta, UNIT),
    "the user's Gumbel": (Gumbel, REAL),
    "the user's LogNormal": (LogNormal, POSITIVE),
    "Mixture of Normal": (partial(pv.Mixture, pv.Normal, components=3), REAL),
    "Mixture of Bernoulli": (partial(pv.Mixture, pv.Bernoulli, components=3), 2),
    "Flow NSF": (partial(pv.Flow, flow=zuko.flows.NSF, **SMALL_FLOW), REAL),
    "Flow MAF": (partial(pv.Flow, flow=zuko.flows.MAF, **SMALL_FLOW), REAL),
    "StandardNormal": (pv.StandardNormal, REAL),
    "Vamp": (vamp, REAL),
    "Vamp, free and weighted": (free_vamp, REAL),
    "Aggregate": (aggregate, REAL),
    "Mixture of MultivariateNormal": (
        partial(pv.Mixture, pv.MultivariateNormal, components=3),
        REAL,
    ),
    "Flow NSF couplings": (partial(pv.Flow, flow=zuko.flows.NSF, passes=2, **SMALL_FLOW), REAL),
    "Flow IAF": (partial(pv.Flow, flow=pv.IAF, **SMALL_FLOW), REAL),
    "Flow from a full normal": (
        partial(pv.Flow, flow=pv.IAF, base=pv.MultivariateNormal, **SMALL_FLOW),
        REAL,
    ),
    "Autoregressive Normal": (partial(pv.Autoregressive, pv.Normal, hidden=(16,)), REAL),
    "Autoregressive Bernoulli": (partial(pv.Autoregressive, pv.Bernoulli, hidden=(16,)), 2),
    "Autoregressive Categorical": (
        partial(pv.Autoregressive, pv.Categorical, classes=4, hidden=(16,)),
        4,
    ),
    "UniformSphere": (pv.UniformSphere, SPHERE),
    "PowerSpherical": (pv.PowerSpherical, SPHERE),
    "VonMisesFisher": (pv.VonMisesFisher, SPHERE),
    "Dirichlet": (pv.Dirichlet, SIMPLEX),
    "LogisticNormal": (pv.LogisticNormal, SIMPLEX),
    "OneHotCategorical": (pv.OneHotCategorical, one_hot_vectors),
    "RelaxedCategorical": (partial(pv.RelaxedCategorical, temperature=0.7), SIMPLEX),
    "RelaxedBernoulli": (partial(pv.RelaxedBernoulli, temperature=0.7), UNIT),
}

VECTORS = {"MultivariateNormal", "LowRankNormal", "Mixture of MultivariateNormal"} | {
    name
    for name, (_, reference) in FAMILIES.items()
    if reference in (SPHERE, SIMPLEX, one_hot_vectors, totals_of_three)
}  # no event_shape ()

FULL = {"MultivariateNormal", "Mixture of MultivariateNormal"}

CONSTANT = {"StandardNormal", "UniformSphere"}

PRIORS = {
    name for name in FAMILIES if name.startswith(("Vamp", "Aggregate"))
} | CONSTANT  # nothing given

OTHER_NETS = ("Flow", "the user's", "missing", "Autoregressive")

BOUNDED = [name for name in FAMILIES if not name.startswith(OTHER_NETS) and name not in PRIORS]

GIVEN = [(4,), (2, 3)]


class Case(NamedTuple):
    name: str
    event: tuple[int, ...]
    given: list | None

    def __str__(self):
        return f"{self.name} {self.event}{' given' if self.given else ''}"

    def make(self):
        """The conditional; free parameters are drawn, lest all of them be 0 or 1."""
        conditional = FAMILIES[self.name][0](
            self.event, **({"given": self.given} if self.given else {})
        )
        for name, w in conditional.named_parameters():
            if name.endswith("raw"):
                nn.init.normal_(w, std=0.4)
        return conditional

    def inputs(self, *leads):
        return [torch.randn(lead + shape) for lead, shape in zip(leads, self.given or [])]


CASES = [
    Case(name, event, given)
    for name, event, given in itertools.product(FAMILIES, [(), (3,), (2, 3)], [None, GIVEN])
    if not (name in VECTORS and not event) and not (name in PRIORS and given)
]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


def test_shapes_under_leading_dimensions_that_broadcast(case):
    lead = (5, 2) if case.given else ()
    given = case.inputs((5, 1), (2,))
    conditional = case.make()

    p = conditional(*given)
    a = p.sample((7,))

    assert (p.batch_shape, p.event_shape) == (lead, case.event)
    assert a.shape == (7, *lead, *case.event)
    assert p.log_prob(a).shape == (7, *lead)
    assert p.support.check(a).all() and p.support.event_dim == len(case.event)
    if case.given:
        b, c = given
        single = [
            [conditional(b[i, 0], c[j]).log_prob(a[:, i, j]) for j in range(2)] for i in range(5)
        ]
        singly = torch.stack([torch.stack(row, -1) for row in single], -2)
        torch.testing.assert_close(p.log_prob(a), singly, rtol=1e-4, atol=1e-4)


def covered(reference, event_shape, num):
    """Points `[m, *event]`, their log density, and whether sums over them are exact."""
    size = math.prod(event_shape)
    if isinstance(reference, int):
        x = torch.tensor(
            list(itertools.product(range(reference), repeat=size)), dtype=float
        ).reshape(-1, *event_shape)
        return x, -torch.full((len(x),), float(len(x))).log(), True
    if reference in (totals_of_three, one_hot_vectors):
        x = reference(event_shape)
        return x, -torch.full((len(x),), float(len(x))).log(), True
    if event_shape or reference is COUNT:
        x = reference.sample((num, *event_shape))
        return x, reference.log_prob(x).reshape(num, -1).sum(-1), False
    x = reference.icdf((torch.arange(num).double() + 0.5) / num)
    return x, reference.log_prob(x), True


def test_draws_have_the_density(case, k=5):
    """The characteristic function E exp(i t·a) at random t, from draws and from the density.

    At t = 0 it is one.
    """
    num, draws = 20_000, 2_000 if "Flow" in case.name else 10_000
    p = case.make().double()(*(g.double() for g in case.inputs((), ())))
    x, log_q, exact = covered(FAMILIES[case.name][1], case.event, num)
    t = 2 * torch.randn(8, math.prod(case.event)).double() / math.prod(case.event) ** 0.5
    t[0] = 0

    def waves(a):
        phase = a.double().reshape(len(a), -1) @ t.mT
        return torch.cat([phase.cos(), phase.sin()], -1)

    with torch.no_grad():
        drawn = waves(p.sample((draws,)))
        summed = waves(x) * (p.log_prob(x) - log_q).exp().unsqueeze(-1)

    error = (drawn.var(0) / draws + (0 if exact else summed.var(0) / num)).sqrt()
    assert error.max() < 0.15, "the test has no power"
    assert ((drawn.mean(0) - summed.mean(0)).abs() < k * error + 5e-3).all()


def test_gradients_reach_every_parameter(case):
    conditional = FAMILIES[case.name][0](
        case.event, **({"given": case.given} if case.given else {})
    )
    p = conditional(*case.inputs((9,), (9,)))
    parameters = {name: w for name, w in conditional.named_parameters() if w.requires_grad}
    assert bool(parameters) == (case.name not in CONSTANT | {"Aggregate"})

    if parameters:
        log_p = p.log_prob(p.sample((51,)))
        (log_p * torch.rand_like(log_p)).sum().backward()  # a plain sum of counts may cancel
    for name, w in parameters.items():
        assert w.grad.isfinite().all(), name
        if name.endswith("raw"):
            above = (
                w.numel() // (case.event[-1] + 1) * (case.event[-1] - 1) // 2
                if case.name in FULL
                else 0
            )
            assert (w.grad != 0).sum() == w.numel() - above, (
                "every entry, but those above a diagonal"
            )
        elif not (name.startswith("flow.") and case.event == () and not case.given):
            assert (w.grad != 0).any(), name


def test_saved_and_loaded_gives_the_same_numbers(case, tmp_path):
    saved, loaded = case.make(), case.make()
    given = case.inputs((6,), (6,))
    a = saved(*given).sample()
    before = saved(*given).log_prob(a)
    assert case.name in CONSTANT or not torch.equal(loaded(*given).log_prob(a), before)

    pv.save_weights(saved, tmp_path / "weights.safetensors")
    pv.load_weights(loaded, tmp_path / "weights.safetensors")

    assert torch.equal(loaded(*given).log_prob(a), before)


def test_under_a_plate_of_draws(case):
    conditional, given = case.make(), case.inputs((3,), (3,))

    def model():
        with pyro.plate("draws", 20, dim=-2), pyro.plate("data", 3, dim=-1):
            return pyro.sample("a", conditional(*given))

    trace = poutine.trace(model).get_trace()
    trace.compute_log_prob()
    a, log_p = trace.nodes["a"]["value"], trace.nodes["a"]["log_prob"]

    assert a.shape == (20, 3, *case.event) and log_p.shape == (20, 3)
    assert (a != a[:1]).any(), "each draw is its own"
    assert (a != a[:, :1]).any(), "each datum is its own"
    torch.testing.assert_close(log_p, conditional(*given).log_prob(a.clone()), rtol=1e-4, atol=1e-4)


# of draws of these, a torch operator that no symbolic batch passes through
NO_DRAWS = {
    "Binomial": "binomial",
    "Multinomial": "binomial",
    "DirichletMultinomial": "_sample_dirichlet",
}


def scored(conditional, drawn=True):
    """A loss of values of a and of b: minus log p, and if asked for a function of draws."""

    def loss(a, *given):
        p = conditional(*given)
        total = -p.log_prob(a).mean()
        if drawn:
            total = total + (p.rsample() if p.has_rsample else p.sample()).to(total).square().mean()
        return total

    return loss


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.event == ((3,) if c.given else (2, 3))], ids=str
)
def test_exported_and_compiled_gives_the_same_numbers(case):
    conditional, given = case.make(), case.inputs((6,), (6,))
    a = conditional(*given).sample(() if given else (6,))
    loss = scored(conditional, drawn=case.name not in NO_DRAWS)
    compiled = CompiledLoss(loss, [conditional], backend="eager")
    learned = [w for w in conditional.parameters() if w.requires_grad]

    for n in (6, 4):
        b = [g[:n].clone().requires_grad_() for g in given]
        values, gradients = [], []
        for run in (loss, compiled):
            torch.manual_seed(n)
            values.append(run(a[:n], *b))
            gradients.append(
                torch.autograd.grad(values[-1], [*learned, *b]) if learned or b else ()
            )
        torch.testing.assert_close(*values, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    assert len(compiled._compiled) == 1, "one graph for both batch sizes"


@pytest.mark.parametrize("name", NO_DRAWS)
def test_draws_that_cannot_be_compiled_are_named(name):
    case = Case(name, (3,), GIVEN)
    conditional, given = case.make(), case.inputs((6,), (6,))
    compiled = CompiledLoss(scored(conditional), [conditional], backend="eager")

    with pytest.raises(
        RuntimeError, match=rf"p\.sample\(\).*cannot be compiled: .*aten::{NO_DRAWS[name]}"
    ):
        compiled(conditional(*given).sample(), *given)
    assert "draws cannot be exported" in " ".join(type(conditional).__doc__.split())


class Head(nn.Module):
    """A network that returns its own first numbers."""

    def __init__(self, given_shapes, out_shape):
        super().__init__()
        self.numbers = math.prod(out_shape)

    def forward(self, raw):
        return raw[:, : self.numbers]


def extreme(numbers):
    """Raw outputs `[m, numbers]`: each value throughout, with random signs, and mixtures of all."""
    values = torch.tensor([0.0, *(s * v for v in (1, 100, 1e5, 1e10, 1e30, 3e38) for s in (1, -1))])
    signs = torch.randint(0, 2, (5, len(values), numbers)) * 2 - 1
    mixtures = values[torch.randint(0, len(values), (150, numbers))]
    return torch.cat(
        [values.unsqueeze(-1).expand(-1, numbers), *(values.unsqueeze(-1) * signs), mixtures]
    )


@pytest.mark.parametrize("event", [(), (3,), (2, 3), (20,)], ids=str)
@pytest.mark.parametrize("name", BOUNDED)
def test_any_network_output_gives_finite_numbers(name, event):
    if name in VECTORS and not event:
        return
    make = FAMILIES[name][0]
    free = make(event)
    raw = extreme(sum(w.numel() for w in free.parameters())).requires_grad_()
    conditional = make(event, given=raw.shape[-1], net=Head)

    log_p = conditional(raw).log_prob(free().sample((len(raw),)))
    (gradient,) = torch.autograd.grad(log_p.sum(), raw)

    assert log_p.isfinite().all() and gradient.isfinite().all()
    family = conditional.components if isinstance(conditional, pv.Mixture) else conditional
    for key, value in family.layout.parametrise(family.net(raw).flatten(1)).items():
        assert value.isfinite().all(), key
        assert family.constraint(key).check(value).all(), key
