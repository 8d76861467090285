"""One table of families through one contract, then what each of them promises beyond it."""

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
from pyro_vae.conditionals.family import _lower_cholesky


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


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


# The contract


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
    """Points `[m, *event]`, the log density that they are drawn from, and whether sums over them are exact."""
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
    """The characteristic function E exp(i t·a) at random t, from draws and from the density; at t = 0 it is one."""
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
        (-p.log_prob(p.sample((51,)))).sum().backward()
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
    """A loss of values of a and of b: minus log p, and, where it is asked for, a function of draws."""

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


def test_a_refined_variational_cannot_be_compiled():
    q = pv.Refined(pv.Normal(2, given=3), pv.StandardNormal(2), pv.Normal(3, given=2), steps=1)
    compiled = CompiledLoss(scored(q), [q], backend="eager")

    with pytest.raises(
        RuntimeError, match=r"cannot be compiled: .*Refined\(\(2,\) \| \(3,\).* takes gradients"
    ):
        compiled(torch.zeros(6, 2), torch.randn(6, 3))
    assert "cannot be exported" in " ".join(pv.Refined.__doc__.split())


@pytest.mark.parametrize("kappa", [1e-3, 0.5, 5.0, 200.0])
def test_a_draw_of_an_angle_has_the_gradient_of_the_mean(kappa, k=5):
    """E cos(a - μ) = A(κ) = I₁(κ) / I₀(κ), with A' = 1 - A / κ - A²; and E sin(a) = A(κ) sin(μ)."""
    loc = torch.full((20_000,), 2.5).double().requires_grad_()
    concentration = torch.full((20_000,), kappa).double().requires_grad_()
    a = pv.VonMises(()).distribution(loc, concentration).rsample()
    one = torch.tensor(kappa).double()
    ratio = torch.special.i1e(one) / torch.special.i0e(one)

    (in_kappa,) = torch.autograd.grad((a - 2.5).cos().sum(), concentration, retain_graph=True)
    (in_loc,) = torch.autograd.grad(a.sin().sum(), loc)
    for drawn, truth in ((in_kappa, 1 - ratio / one - ratio**2), (in_loc, ratio * math.cos(2.5))):
        assert (drawn.mean() - truth).abs() < k * drawn.std() / 20_000**0.5


# Any output of a network


class Head(nn.Module):
    """A network that returns its own first numbers."""

    def __init__(self, given_shapes, out_shape):
        super().__init__()
        self.numbers = math.prod(out_shape)

    def forward(self, raw):
        return raw[:, : self.numbers]


def extreme(numbers):
    """Raw outputs `[m, numbers]`: each value throughout, each with random signs, and random mixtures of all."""
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
    family = getattr(conditional, "components", conditional)
    for key, value in family.parametrise(family.net(raw).flatten(1)).items():
        assert value.isfinite().all(), key
        constraint = (
            dist.constraints.positive
            if key == "temperature"
            else family.distribution.arg_constraints[key]
        )
        assert constraint.check(value).all(), key


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_any_well_conditioned_covariance_is_reached_exactly(size):
    rotation = torch.linalg.qr(torch.randn(50, size, size).double()).Q
    covariance = rotation * torch.logspace(-2, 2, size).double() @ rotation.mT
    factor = torch.linalg.cholesky(covariance)
    scale = factor.diagonal(dim1=-2, dim2=-1)

    raw = (factor / scale.unsqueeze(-1)).tril(-1) * size + torch.diag_embed(scale.expm1().log())

    torch.testing.assert_close(_lower_cholesky(raw), factor, rtol=1e-10, atol=1e-12)


def test_jitter_of_a_triangle_does_not_add_up_over_its_rows():
    for size in (2, 40):
        raw = torch.randn(2_000, size, size).tril(-1)
        factor = _lower_cholesky(raw)
        ratio = factor.square().sum(-1) / factor.diagonal(dim1=-2, dim2=-1).square()
        assert ratio.mean(0).max() < 1 + 1.2 / size, (
            "1 + (d - 1) / d² of the variance that the diagonal alone has"
        )


def test_the_worst_output_still_gives_a_factor_whose_inverse_is_bounded():
    raw = (1e3 * torch.randn(8, 20, 20).tril(-1).double()).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=50.0)
    worst = 0.0
    for _ in range(100):
        factor = _lower_cholesky(raw)
        unit = factor / factor.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
        inverse = torch.linalg.solve_triangular(
            unit, torch.eye(20).double().expand(8, 20, 20), upper=False
        )
        largest = inverse.tril(-1).abs().amax((-1, -2))
        worst = max(worst, largest.max().item())
        optimizer.zero_grad()
        (-largest.log().sum()).backward()
        optimizer.step()

    assert 10 < worst < 1000


# Fixed parameters


def test_a_fixed_parameter_is_a_buffer():
    p = pv.Normal((2, 3), given=4, scale=torch.tensor([0.1, 0.2, 0.3]))

    assert "fixed_scale" in dict(p.named_buffers()) and "fixed_scale" not in dict(
        p.named_parameters()
    )
    assert p.net.out_shape == (6,), "the network computes loc alone"
    torch.testing.assert_close(
        p(torch.zeros(5, 4)).stddev, torch.tensor([0.1, 0.2, 0.3]).expand(5, 2, 3)
    )
    assert p.double()(torch.zeros(5, 4).double()).sample().dtype == torch.float64
    assert pv.Normal(2, scale=0.1).double()().sample().dtype == torch.float64


def test_a_fixed_parameter_is_taken_as_it_is():
    w, tril = 1e4 * torch.randn(3, 2), torch.tensor([[1e-8, 0.0], [1.0, 1e8]])

    assert torch.equal(
        pv.LowRankNormal(3, rank=2, cov_factor=w).parametrise(torch.zeros(6))["cov_factor"], w
    )
    assert torch.equal(pv.MultivariateNormal(2, scale_tril=tril)().scale_tril, tril)
    assert (
        pv.Mixture(pv.Normal, 2, components=3, scale=0.1)().component_distribution.stddev.unique()
        == 0.1
    )


def test_the_standard_normal_is_one():
    p, z = pv.StandardNormal((2, 3)), torch.randn(5, 2, 3)
    torch.testing.assert_close(p().log_prob(z), dist.Normal(0.0, 1.0).log_prob(z).sum((1, 2)))


@pytest.mark.parametrize("given", [None, 4])
@pytest.mark.parametrize(
    "cls, event, shapes",
    [
        (dist.Dirichlet, (2, 3), {"concentration": lambda event: event}),
        (dist.OneHotCategorical, (2, 3), {"logits": lambda event: event}),
        (dist.Dirichlet, (3,), {"concentration": lambda event: event}),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_the_event_dimensions_of_the_class_itself_count(cls, event, shapes, given):
    conditional = pv.family(cls, **shapes)(event, given=given)
    p = conditional(*[torch.randn(7, 4)] if given else [])

    assert (p.batch_shape, p.event_shape) == ((7,) if given else (), event)
    assert pv.family(cls, *shapes)(event)().event_shape == event


# Mixture, Vamp, Flow


def test_free_components_start_apart():
    p = pv.Mixture(pv.Normal, 2, components=10)()

    assert torch.pdist(p.component_distribution.mean).min() > 0
    assert p.mixture_distribution.probs.unique().numel() == 1


@pytest.mark.parametrize("given", [None, 4])
@pytest.mark.parametrize("family", [pv.Normal, pv.Bernoulli, pv.Gamma, pv.Poisson, pv.Beta])
def test_a_mixture_is_the_weighted_sum_of_its_components(family, given):
    mixture = pv.Mixture(family, (2, 3), given, components=4)
    b = [torch.randn(5, 4)] if given else []
    p, x = mixture(*b), mixture(*b).sample((6,))

    terms = mixture.components(*b).base_dist.log_prob(x.unsqueeze(-3)).sum((-1, -2))
    truth = torch.logsumexp(terms + mixture.weights(*b).logits, -1)

    torch.testing.assert_close(p.log_prob(x), truth)
    assert str(p.support) == str(family((2, 3))().support)


def test_a_vamp_is_the_average_over_its_pseudo_inputs():
    q, u, z = pv.Normal(2, given=(1, 3)), torch.randn(4, 1, 3), torch.randn(7, 2)
    prior = pv.Vamp(q, u)

    truth = torch.stack([q(row).log_prob(z) for row in u]).logsumexp(0) - math.log(4)

    torch.testing.assert_close(prior().log_prob(z), truth)
    assert prior.variational is q and isinstance(prior.pseudo_inputs, nn.Parameter)


def test_a_vamp_of_one_standard_normal_is_the_standard_normal():
    q, z = pv.Normal(2, given=3, scale=1.0), torch.randn(7, 2)
    for w in q.parameters():
        nn.init.zeros_(w)

    torch.testing.assert_close(
        pv.Vamp(q, torch.randn(1, 3))().log_prob(z), pv.StandardNormal(2)().log_prob(z)
    )


def test_a_flow_of_the_users_own():
    def triangular(features, context, passes=None):
        return zuko.flows.MAF(features, context, transforms=1, passes=passes, hidden_features=(8,))

    q = pv.Flow((2, 2), given=3, flow=triangular, context=5, passes=2)

    assert q.net.out_shape == (5 + 2 * 4,), "the context, and the normal at which it starts"
    assert repr(q) == "Flow((2, 2) | (3,), flow=triangular, passes=2)"
    assert q(torch.randn(6, 3)).rsample().shape == (6, 2, 2)


# Misuse

swallowed = pv.family(dist.Categorical, "logits")

MISUSES = {
    "fixed outside the constraint": (
        lambda: pv.Normal(2, scale=-1.0),
        ValueError,
        r"scale: expected finite values within GreaterThan\(lower_bound=0.0\), got -1",
    ),
    "a scale of zero": (
        lambda: pv.Normal(2, given=3, scale=0.0),
        ValueError,
        r"scale: expected finite values within GreaterThan\(lower_bound=0.0\), got 0",
    ),
    "fixed, and no factor": (
        lambda: pv.MultivariateNormal(2, scale_tril=torch.ones(2, 2)),
        ValueError,
        r"scale_tril: expected .* LowerCholesky\(\), got 1",
    ),
    "fixed to nan": (
        lambda: pv.Normal(2, loc=torch.nan),
        ValueError,
        "loc: expected finite values",
    ),
    "fixed in another shape": (
        lambda: pv.Normal(2, scale=torch.ones(3)),
        ValueError,
        r"scale: expected a number or a tensor of shape \(2,\), got shape \(3,\)",
    ),
    "an unknown keyword": (
        lambda: pv.LowRankNormal(2, rank=1, sigma=1.0),
        TypeError,
        "has no parameter or option sigma; .*: loc, cov_diag, cov_factor; options: rank",
    ),
    "all fixed, yet given": (
        lambda: pv.Normal(2, given=3, loc=0.0, scale=1.0),
        ValueError,
        "every parameter is fixed, so nothing depends on given=3",
    ),
    "no classes": (
        lambda: pv.Categorical(3),
        TypeError,
        "Categorical needs classes=, a positive whole number",
    ),
    "no rank": (lambda: pv.LowRankNormal(3), TypeError, "LowRankNormal needs rank="),
    "half a class": (
        lambda: pv.Categorical(3, classes=2.5),
        TypeError,
        r"needs classes=.*got 2\.5",
    ),
    "a vector's family for a scalar": (
        lambda: pv.MultivariateNormal(()),
        ValueError,
        r"\(\) has too few dimensions",
    ),
    "low rank for a scalar": (
        lambda: pv.LowRankNormal((), rank=2),
        ValueError,
        r"\(\) has too few dimensions",
    ),
    "an empty event": (
        lambda: pv.Normal(0),
        ValueError,
        "event_shape: expected a positive .* got 0",
    ),
    "a fractional event": (
        lambda: pv.Normal((2, 0.5)),
        ValueError,
        "event_shape: expected a positive",
    ),
    "a negative given": (
        lambda: pv.Normal(2, given=[3, -1]),
        ValueError,
        "given: expected a positive .* got -1",
    ),
    "a family of unknown parameters": (
        lambda: pv.family(dist.Normal, "loc", "sigma"),
        ValueError,
        "Normal has no parameter sigma; it has loc, scale",
    ),
    "a family of dependent bounds": (
        lambda: pv.family(dist.Uniform, "low", "high"),
        TypeError,
        "Uniform: expected a class of pyro.distributions, .* do not depend on its other parameters",
    ),
    "a family of torch's own": (
        lambda: pv.family(torch.distributions.Gumbel, "loc", "scale"),
        TypeError,
        "Gumbel: expected a class of pyro.distributions, or one with to_event",
    ),
    "a family of whole parameters": (
        lambda: pv.family(dist.Binomial, "total_count", "logits"),
        ValueError,
        "no network can compute total_count",
    ),
    "a flow from what is positive": (
        lambda: pv.Flow(2, given=3, base=pv.Gamma),
        ValueError,
        "base: expected a family over the reals, .* got .*Gamma",
    ),
    "the batch swallowed": (
        lambda: swallowed(3, given=4)(torch.zeros(5, 4)),
        ValueError,
        r"batch_shape \(5,\) and event_shape \(3,\), got \(\) and \(5,\)",
    ),
    "a mixture of none": (
        lambda: pv.Mixture(pv.Normal, 2, components=0),
        ValueError,
        "components: expected a positive whole number, got 0",
    ),
    "pseudo-inputs of another shape": (
        lambda: pv.Vamp(pv.Normal(2, given=(1, 3)), torch.zeros(5, 3)),
        ValueError,
        r"pseudo_inputs: expected .* given \[\(1, 3\)\], got shape \[5, 3\]",
    ),
    "no pseudo-inputs": (
        lambda: pv.Vamp(pv.Normal(2, given=3), torch.zeros(0, 3)),
        ValueError,
        r"pseudo_inputs: .*got shape \[0, 3\]",
    ),
    "pseudo-inputs for two variables": (
        lambda: pv.Vamp(pv.Normal(2, given=[3, 4]), torch.zeros(5, 3)),
        ValueError,
        "pseudo_inputs: expected",
    ),
    "pseudo-inputs for nothing given": (
        lambda: pv.Vamp(pv.Normal(2), torch.zeros(5, 3)),
        ValueError,
        "pseudo_inputs: expected",
    ),
}


@pytest.mark.parametrize("misuse, error, message", MISUSES.values(), ids=MISUSES)
def test_misuse_is_named(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
