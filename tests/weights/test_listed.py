"""Latents that are summed over, against tables: x and y of finitely many values."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO

import pyro_vae as pv
from pyro_vae.weights.listed import (
    MOST,
    add_listed,
    find_listed,
    find_listed_shape,
    is_listed,
    is_marked,
    refuse_large,
    score_listed,
    sum_listed,
)
from pyro_vae.weights.traces import (
    drawn_sites,
    latent_sites,
    latent_values,
    log_prob,
    quietly,
    trace,
)
from pyro_vae.weights.weights import score_marginals, weigh
from tests.oracles import near

LISTS = {"enumerate": "parallel"}


def table(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64).softmax(-1)


A, B, X = 2, 3, 4
P_A, P_B, P_X = table(A, seed=1), table(A, B, seed=2), table(A, B, X, seed=3)
Q_A, Q_B = table(X, A, seed=4), table(X, A, B, seed=5)
x = torch.tensor([0, 3, 1, 2, 3])


def model(x):
    with pyro.plate("data", x.shape[0]):
        a = pyro.sample("a", dist.Categorical(P_A))
        b = pyro.sample("b", dist.Categorical(P_B[a]))
        pyro.sample("x", dist.Categorical(P_X[a, b]), obs=x)


def guide(x, a_listed=True, b_listed=True):
    with pyro.plate("data", x.shape[0]):
        a = pyro.sample("a", dist.Categorical(Q_A[x]), infer=LISTS if a_listed else {})
        pyro.sample("b", dist.Categorical(Q_B[x, a]), infer=LISTS if b_listed else {})


def tables():
    """log p(x), and the ELBO, of each datum."""
    log_joint = (P_A[:, None, None] * P_B[..., None] * P_X).log()[..., x].permute(2, 0, 1)
    log_q = (Q_A[x][..., None] * Q_B[x]).log()
    evidence = log_joint.flatten(1).logsumexp(1)
    return evidence, (log_q.exp() * (log_joint - log_q)).flatten(1).sum(1)


def pair():
    return pv.Pair(model, guide)


def test_log_p_x_and_the_elbo_are_exact():
    evidence, elbo = tables()
    weights = weigh(pair(), (x,), 3)
    torch.testing.assert_close(weights.log_weight, evidence.expand(3, 5))
    torch.testing.assert_close(weights.elbo, elbo.expand(3, 5))
    found = pv.diagnostics.log_evidence(pair(), x, num_samples=2, progress=False)
    torch.testing.assert_close(found.value, evidence)
    assert near(pv.diagnostics.elbo(pair(), x, num_samples=2, progress=False), elbo)


def test_bounds_are_exact_and_that_of_trace_enum_too():
    evidence, elbo = tables()
    for bound, truth in (
        (TraceEnum_ELBO(max_plate_nesting=1), elbo),
        (pv.EvidenceLowerBound(), elbo),
        (pv.EvidenceLowerBound(3), elbo),
        (pv.ImportanceWeighted(3), evidence),
        (pv.Renyi(0.5, 3), evidence),
    ):
        loss = bound.loss(model, guide, x)
        assert loss == pytest.approx(-truth.sum().item(), rel=1e-6), bound


def test_one_is_listed_and_the_other_drawn():
    """With b drawn, log p(x) and the ELBO are right on average."""
    evidence, elbo = tables()

    def guide_a(x):
        guide(x, b_listed=False)

    mixed = pv.Pair(model, guide_a)
    assert near(pv.diagnostics.elbo(mixed, x, num_samples=5000, progress=False), elbo)
    found = pv.diagnostics.log_evidence(mixed, x, num_samples=5000, progress=False)
    assert near(found, evidence)


def test_marginals_sum_over_what_is_listed():
    """log p(x, b) and log q(b | x), with a summed over."""

    def guide_a(x):
        guide(x, b_listed=False)

    mixed = pv.Pair(model, guide_a)
    b = torch.tensor([0, 1, 2, 0, 1])
    log_p, log_q = score_marginals(mixed, (x,), 1, {"b": b.unsqueeze(0)})
    joint = P_A[:, None, None] * P_B[..., None] * P_X
    torch.testing.assert_close(log_p[0], joint[:, b, x].sum(0).log())
    torch.testing.assert_close(log_q[0], (Q_A[x] * Q_B[x, :, b]).sum(1).log())


def listed_trace():
    with quietly(pair()):
        return trace(guide, (x,), draws=6, lists=True)


def test_listed_latents_are_found_with_their_sizes():
    run = listed_trace()
    sizes = find_listed(latent_sites(run))
    assert sizes == {"a": A, "b": B}
    assert find_listed_shape(sizes) == (B, A)
    assert drawn_sites(run) == {}
    assert all(is_listed(run.nodes[name]) for name in sizes)
    drawn = trace(guide, (x,))
    assert find_listed(latent_sites(drawn)) == {}
    assert all(is_marked(drawn.nodes[name]) for name in sizes)
    assert set(drawn_sites(trace(lambda x: guide(x, b_listed=False), (x,)))) == {"b"}
    score = log_prob(run.nodes["b"])
    assert score.shape[-4:] == (B, A, 1, 5) or score.expand(B, A, 6, 5).shape == (B, A, 6, 5)


def test_values_that_are_given_are_not_listed():
    z = {name: value[:, 0] for name, value in latent_values(trace(guide, (x,), draws=1)).items()}
    weights = weigh(pair(), (x,), 2, {name: v.expand(2, 5) for name, v in z.items()})
    assert weights.log_sum is None


def test_sums():
    values = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert torch.equal(sum_listed(values), values.sum((0, 1)))
    torch.testing.assert_close(add_listed(values.log()).exp(), values.sum((0, 1)))


def test_where_a_mask_hides_it_a_listed_site_is_uniform():
    known = torch.tensor([True, False, True, False, False])

    def masked(x):
        with pyro.plate("data", 5), poutine.mask(mask=~known):
            pyro.sample("a", dist.Categorical(Q_A[x]), infer=LISTS)

    site = trace(masked, (x,), lists=True).nodes["a"]
    score = score_listed(site, A, log_prob)
    truth = torch.where(known, -math.log(A), Q_A[x].log().T)
    torch.testing.assert_close(score.reshape(A, 5), truth)
    plain = trace(lambda x: guide(x), (x,), lists=True).nodes["a"]
    assert torch.equal(score_listed(plain, A, log_prob), log_prob(plain))


def test_too_many_values_are_refused_before_training():
    def many_model(x):
        with pyro.plate("data", x.shape[0]):
            z = [pyro.sample(f"z{i}", dist.Categorical(torch.ones(11) / 11)) for i in range(4)]
            pyro.sample("x", dist.Normal(sum(z).double(), 1.0), obs=x)

    def many_guide(x):
        with pyro.plate("data", x.shape[0]):
            for i in range(4):
                pyro.sample(f"z{i}", dist.Categorical(torch.ones(11) / 11), infer=LISTS)

    many = pv.Pair(many_model, many_guide)
    words = rf"lists 14641 combinations.*'z0' 11.*at most {MOST} .*VIMCO"
    with pytest.raises(ValueError, match=words):
        pv.diagnostics.log_weights(many, torch.zeros(3).double(), num_samples=2)
    many.weight = torch.nn.Parameter(torch.zeros(()).double())
    with pytest.raises(ValueError, match=words):
        pv.fit(
            many,
            torch.zeros(3).double(),
            epochs=1,
            objective=pv.Objective(many, pv.EvidenceLowerBound()),
            progress=False,
        )


def of_one_latent(q, reached=lambda: None):
    """A pair whose guide marks one latent, and calls `reached` after it."""

    def one_model(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", q())
            pyro.sample("x", dist.Normal(torch.zeros(()), 1.0).expand([784]).to_event(1), obs=x)

    def one_guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", q(), infer=LISTS)
            reached()

    return pv.Pair(one_model, one_guide)


@pytest.mark.parametrize(
    ("q", "said"),
    [
        (lambda: dist.Normal(torch.zeros(()), 1.0), "Normal"),
        (lambda: dist.Poisson(torch.ones(())), "Poisson"),
        (lambda: dist.Bernoulli(torch.full((5,), 0.5)).to_event(1), "Independent"),
    ],
)
def test_what_cannot_be_listed_is_refused(q, said):
    marked, x = of_one_latent(q), torch.zeros(3, 784)
    words = rf"site 'z': the guide marks it .*the values of {said}.* cannot be listed"
    for run in (
        lambda: pv.Objective(marked, pv.EvidenceLowerBound())(x),
        lambda: pv.diagnostics.elbo(marked, x, num_samples=2, progress=False),
        lambda: weigh(marked, (x,), 2),
    ):
        with pytest.raises(ValueError, match=words):
            run()
    assert any("cannot be listed" in problem for problem in pv.check(marked, x).problems)
    marked.weight = torch.nn.Parameter(torch.zeros(()))
    with pytest.raises(ValueError, match=words):
        pv.fit(marked, x, epochs=1, progress=False)


def test_too_many_values_are_refused_before_anything_is_drawn_at_each():
    calls = []
    many = of_one_latent(lambda: dist.Categorical(torch.ones(MOST + 1)), lambda: calls.append(1))
    with pytest.raises(ValueError, match=f"lists {MOST + 1} combinations of values"):
        trace(many.guide, (torch.zeros(3, 784),), lists=True)
    assert calls == []
    trace(many.guide, (torch.zeros(3, 784),))
    assert calls == [1]


def test_numbers_that_no_memory_holds_are_refused():
    some = of_one_latent(lambda: dist.Categorical(torch.ones(9_000)))
    words = (
        r"x: 9000 combinations of listed values \('z' 9000\), times 40 draw\(s\), 8 rows and 784 "
        r"numbers a row, are 2257920000 numbers.*smaller batch_size or fewer draws.*VIMCO"
    )
    x = torch.zeros(8, 784)
    with pytest.raises(ValueError, match=words):
        pv.Objective(some, pv.EvidenceLowerBound(40))(x)
    with pytest.raises(ValueError, match="times 40 draw"):
        refuse_large({"z": 9_000}, 40, x)
    refuse_large({"z": 9_000}, 30, x)
    refuse_large({}, 10**9, x)


def test_a_value_that_is_impossible_counts_nothing():
    """q(y | x) = 0 for one value, with p(x, y) = 0 there too: no NaN, in value and gradient."""
    raw = torch.zeros(X, dtype=torch.float64, requires_grad=True)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            y = pyro.sample("y", dist.Categorical(torch.tensor([0.5, 0.5, 0.0]).double()))
            logits = raw * torch.tensor([0.0, 1.0, 2.0]).double()[y].unsqueeze(-1)
            pyro.sample("x", dist.Categorical(logits=logits), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            q = dist.Categorical(torch.tensor([0.3, 0.7, 0.0]).double())
            pyro.sample("y", q, infer=LISTS)

    for bound in (pv.EvidenceLowerBound(), pv.ImportanceWeighted(2)):
        loss = bound.differentiable_loss(model, guide, x)
        (gradient,) = torch.autograd.grad(loss, raw)
        assert loss.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("gradient", ["doubly_reparametrised", "leave_one_out", "score"])
def test_estimators_for_draws_refuse_listed_latents(gradient):
    with pytest.raises(ValueError, match=r"gradient: the guide lists a latent.*'reparametrised'"):
        pv.ImportanceWeighted(3, gradient).differentiable_loss(model, guide, x)
