"""Every pair of the shelf, with its data, goes through every tool: one contract for all."""

import copy
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.optim import Adam
from torch import nn
from torch.distributions import NegativeBinomial, Normal

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.networks.standardised import EPSILON
from pyro_vae.weights.intake import admit
from pyro_vae.weights.traces import latent_values, quietly, trace
from pyro_vae.weights.weights import weigh

ROWS, DRAWS = 9, 3
net = partial(pv.networks.mlp, hidden=(6,))


class Case(NamedTuple):
    """A pair, its data, log w written by hand from data and draws, and its name in one line each.

    `drawn` says whether a latent is left that is drawn, which annealing needs.
    """

    make: Callable[[], nn.Module]
    data: Callable[[], tuple]
    by_hand: Callable[..., torch.Tensor]
    story: list[str]
    drawn: bool = True
    lists: bool = False


def bits(*shape):
    return torch.bernoulli(torch.full((ROWS, *shape), 0.5))


def total(terms):
    return sum(terms)


# covariates


def plain():
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(4, given=2, net=net),
        variational=pv.Normal(2, given=4, net=net),
    )


def conditional(prior):
    return pv.VAE(
        prior=pv.Normal(2, given=3, net=net) if prior else pv.StandardNormal(2),
        likelihood=pv.Bernoulli(4, given=[2, 3], net=net),
        variational=pv.Normal(2, given=[4, 3], net=net),
    )


def two_covariates():
    return pv.VAE(
        prior=pv.Normal(2, given=5, net=net),
        likelihood=pv.Bernoulli(4, given=[2, 3, 5], net=net),
        variational=pv.Normal(2, given=[4, 3], net=net),
    )


def for_likelihood_alone():
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(4, given=[2, 3], net=net),
        variational=pv.Normal(2, given=4, net=net),
    )


def weigh_vae(p=(), lik=(), q=()):
    """log w of a VAE of which prior, likelihood and variational get these of the covariates."""

    def by_hand(pair, data, z):
        x, c = data[0], data[1:]
        z = z["z"]
        return (
            pair.likelihood(z, *(c[i] for i in lik)).log_prob(x)
            + pair.prior(*(c[i] for i in p)).log_prob(z)
            - pair.variational(x, *(c[i] for i in q)).log_prob(z)
        )

    return by_hand


def enumerated():
    vae = pv.VAE(
        prior=pv.OneHotCategorical(3),
        likelihood=pv.Bernoulli(4, given=3, net=net),
        variational=pv.OneHotCategorical(3, given=4, net=net),
        enumerate=True,
    )
    nn.init.normal_(vae.prior.raw)
    return vae


def weigh_enumerated(pair, data, z):
    (x,) = data
    values = torch.eye(3).reshape(3, 1, 3)
    log_p = pair.prior().log_prob(values) + pair.likelihood(values).log_prob(x)
    return log_p.logsumexp(0).expand(DRAWS, ROWS)


def counts():
    """Cells of two batches, each with its library size."""
    likelihood = pv.GammaPoisson(4, given=[2, 3], net=net, dispersion="free")
    return pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.exposed(likelihood),
        variational=pv.Normal(2, given=[4, 3], net=pv.networks.logged(net)),
    )


def cells():
    size = 3.0 + torch.arange(ROWS)
    x = torch.poisson(size[:, None].expand(ROWS, 4) / 4)
    return x, torch.eye(3)[torch.arange(ROWS) % 3], size


def weigh_counts(pair, data, z):
    x, batch, size = data
    part, z = pair.likelihood.likelihood, z["z"]
    share = part.net(z, batch.expand(DRAWS, ROWS, 3)).softmax(-1)
    r = 1 / nn.functional.softplus(part.layout.dispersion_raw)
    log_p = NegativeBinomial(r, logits=(size[:, None] * share / r).log()).log_prob(x).sum(-1)
    log_q = pair.variational(x, batch).log_prob(z)
    return log_p + pair.prior().log_prob(z) - log_q


# hierarchies


def bottom_up(levels=2):
    if levels == 3:
        return pv.HierarchicalVAE(
            priors=[
                pv.StandardNormal(1),
                pv.Normal(2, given=1, net=net),
                pv.Normal(3, given=2, net=net),
            ],
            likelihood=pv.Bernoulli(4, given=3, net=net),
            variationals=[
                pv.Normal(3, given=4, net=net),
                pv.Normal(2, given=3, net=net),
                pv.Normal(1, given=2, net=net),
            ],
        )
    return pv.HierarchicalVAE(
        priors=[pv.StandardNormal(2), pv.Normal(3, given=2, net=net)],
        likelihood=pv.Bernoulli(4, given=3, net=net),
        variationals=[pv.Normal(3, given=4, net=net), pv.Normal(2, given=3, net=net)],
    )


def top_down(shared=False):
    size = 5 if shared else 4
    return pv.HierarchicalVAE(
        priors=[pv.StandardNormal(2), pv.Normal(3, given=2, net=net)],
        likelihood=pv.Bernoulli(4, given=3, net=net),
        variationals=[pv.Normal(2, given=size, net=net), pv.Normal(3, given=[size, 2], net=net)],
        order="top_down",
        encoder=nn.Sequential(nn.Linear(4, 5), nn.Tanh()) if shared else None,
    )


def weigh_two_levels(pair, data, z):
    (x,) = data
    z1, z2 = z["z1"], z["z2"]
    first, second = pair.variationals
    if pair.order == "bottom_up":
        log_q = first(x).log_prob(z1) + second(z1).log_prob(z2)
    else:
        h = pair.encoder(x)
        log_q = first(h).log_prob(z2) + second(h, z2).log_prob(z1)
    top, low = pair.priors
    log_p = top().log_prob(z2) + low(z2).log_prob(z1) + pair.likelihood(z1).log_prob(x)
    return log_p - log_q


def weigh_three_levels(pair, data, z):
    (x,) = data
    z1, z2, z3 = z["z1"], z["z2"], z["z3"]
    p3, p2, p1 = pair.priors
    q1, q2, q3 = pair.variationals
    log_p = p3().log_prob(z3) + p2(z3).log_prob(z2) + p1(z2).log_prob(z1)
    log_q = q1(x).log_prob(z1) + q2(z1).log_prob(z2) + q3(z2).log_prob(z3)
    return log_p + pair.likelihood(z1).log_prob(x) - log_q


# labels


def labelled(y_to_all):
    prior = pv.Normal(2, given=3, net=net) if y_to_all else pv.StandardNormal(2)
    q = pv.Normal(2, given=[4, 3] if y_to_all else 4, net=net)
    pair = pv.LabelledVAE(
        labels=pv.OneHotCategorical(3),
        prior=prior,
        likelihood=pv.Bernoulli(4, given=[2, 3], net=net),
        classifier=pv.OneHotCategorical(3, given=4, net=net),
        variational=q,
    )
    nn.init.normal_(pair.labels.raw)
    return pair


ALL = torch.arange(ROWS) % 3
SOME = torch.where(torch.arange(ROWS) % 2 > 0, ALL, -1)


def weigh_labelled(pair, data, z):
    """Row by row: log w of the known label, or the sum over all values of it."""
    x = data[0]
    y = data[1] if len(data) > 1 else torch.full((ROWS,), -1)
    z = z["z"].expand(3, DRAWS, ROWS, 2)
    values = torch.eye(3)
    log_w = torch.empty(DRAWS, ROWS)
    for i in range(ROWS):
        each = []
        for k in range(3):
            at, label, row = z[k, :, i], values[k], x[i]
            takes_all = bool(pair.prior.given_shapes)
            p_z = pair.prior(label) if takes_all else pair.prior()
            q_z = pair.variational(row, label) if takes_all else pair.variational(row)
            p_x = pair.likelihood(at, label)
            joint = pair.labels().log_prob(label) + p_z.log_prob(at) + p_x.log_prob(row)
            each.append(joint - q_z.log_prob(at))
        each = torch.stack(each)
        if y[i] < 0:
            log_w[:, i] = each.logsumexp(0)
        elif torch.equal(z[0, :, i], z[1, :, i]):
            log_w[:, i] = each[y[i]]
        else:
            # z is drawn once for each value of a label that is listed, and all are of this label
            log_w[:, i] = (
                torch.stack(
                    [_weigh_known(pair, x[i], y[i], z[k, :, i]) for k in range(3)]
                ).logsumexp(0)
                - torch.tensor(3.0).log()
            )
    return log_w


def _weigh_known(pair, row, y, z):
    label = torch.eye(3)[y]
    takes_all = bool(pair.prior.given_shapes)
    p_z = pair.prior(label) if takes_all else pair.prior()
    q_z = pair.variational(row, label) if takes_all else pair.variational(row)
    log_p = pair.labels().log_prob(label) + p_z.log_prob(z)
    return log_p + pair.likelihood(z, label).log_prob(row) - q_z.log_prob(z)


# sequences

LENGTHS = torch.tensor([3, 1, 2, 3, 2, 3, 3, 1, 2])


def clusters():
    labels, prior = pv.OneHotCategorical(3), pv.MultivariateNormal(2, given=3, net=net)
    q = pv.Normal(2, given=4, net=net)
    pair = pv.LabelledVAE(
        labels=labels,
        prior=prior,
        likelihood=pv.Bernoulli(4, given=2, net=net),
        classifier=pv.Responsibilities(labels, prior, q),
        variational=q,
    )
    nn.init.normal_(pair.labels.raw)
    return pair


def weigh_clusters(pair, data, z):
    """z is drawn and decoded once, and y is summed over in p(z)."""
    (x,), z = data, z["z"]
    each = [pair.labels().log_prob(label) + pair.prior(label).log_prob(z) for label in torch.eye(3)]
    log_p = torch.stack(each).logsumexp(0) + pair.likelihood(z).log_prob(x)
    return log_p - pair.variational(x).log_prob(z)


def sequence():
    return pv.SequenceVAE(
        transition=pv.Normal(2, given=2, net=partial(pv.networks.gated, hidden=6)),
        emission=pv.Bernoulli(4, given=2, net=net),
        variational=pv.Normal(2, given=[2, 3], net=net),
        encoder=pv.networks.Backward(4, 3),
    )


def weigh_sequence(pair, data, z):
    """Step by step, as far as each sequence goes."""
    x, lengths = data
    z, h = z["z"], pair.encoder(x, lengths)
    log_w = torch.zeros(DRAWS, ROWS)
    for i in range(ROWS):
        p_before, q_before = pair.start, pair.variational_start
        for t in range(int(lengths[i])):
            at = z[:, i, t]
            log_w[:, i] += pair.transition(p_before).log_prob(at)
            log_w[:, i] += pair.emission(at).log_prob(x[i, t])
            log_w[:, i] -= pair.variational(q_before, h[i, t]).log_prob(at)
            p_before = q_before = at
    return log_w


# modalities


def modalities(join):
    return pv.MultimodalVAE(
        prior=pv.StandardNormal(2),
        likelihoods={
            "image": pv.Bernoulli(4, given=2, net=net),
            "text": pv.Normal(3, given=2, net=net),
        },
        experts={"image": pv.Normal(2, given=4, net=net), "text": pv.Normal(2, given=3, net=net)},
        join=join,
    )


def with_gaps():
    image, text = bits(4), torch.randn(ROWS, 3)
    image[1::3] = torch.nan
    text[2::3] = torch.nan
    return image, text


def weigh_modalities(pair, data, z):
    z = z["z"]
    log_w = torch.empty(DRAWS, ROWS)
    for i in range(ROWS):
        at = z[:, i]
        rows = {name: x[i] for name, x in zip(pair.likelihoods, data, strict=True)}
        seen = {name: row for name, row in rows.items() if not row.isnan().all()}
        log_p = pair.prior().log_prob(at)
        log_p = log_p + total(pair.likelihoods[m](at).log_prob(row) for m, row in seen.items())
        experts = [pair.experts[m](row).base_dist for m, row in seen.items()]
        if pair.join == "mixture":
            each = [expert.log_prob(at).sum(-1) for expert in experts]
            log_q = torch.stack(each).logsumexp(0) - torch.tensor(float(len(each))).log()
        else:
            precision = 1 + total(expert.scale**-2 for expert in experts)
            loc = total(expert.loc * expert.scale**-2 for expert in experts) / precision
            log_q = Normal(loc, precision**-0.5).log_prob(at).sum(-1)
        log_w[:, i] = log_p - log_q
    return log_w


# topics


def topics(mixture):
    small = partial(pv.networks.mlp, hidden=(6,), activation=nn.Softplus)
    return pv.VAE(
        prior=pv.approximate_dirichlet(3, 0.5),
        likelihood=pv.Multinomial(
            5, given=3, net=partial(pv.networks.topics, mixture=mixture), total_count=9
        ),
        variational=pv.Normal(3, given=5, net=pv.networks.standardised(small)),
    )


def documents():
    """Bags of 2 to 10 words."""
    x = torch.zeros(ROWS, 5)
    for i in range(ROWS):
        for word in torch.randint(5, (2 + i,)):
            x[i, word] += 1
    return (x,)


def weigh_topics(pair, data, z):
    (x,) = data
    h, body = z["z"], pair.likelihood.net.body
    theta = h.exp() / h.exp().sum(-1, keepdim=True)
    if body.mixture:
        p = theta @ (body.beta.exp() / body.beta.exp().sum(-1, keepdim=True))
    else:
        s = body.standardise
        odds = ((theta @ body.beta - s.mean) / (s.variance + EPSILON).sqrt() + s.bias).exp()
        p = odds / odds.sum(-1, keepdim=True)
    log_ways = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1)
    log_likelihood = log_ways + (x * p.log()).sum(-1)
    variance = (1 - 1 / 3) / 0.5
    log_prior = Normal(0.0, variance**0.5).log_prob(h).sum(-1)
    return log_likelihood + log_prior - pair.variational(x).log_prob(h)


SAYS_TOP_DOWN = ["HierarchicalVAE(", "p(z2)", "p(z1|z2)", "p(x|z1)", "q(z2|x)", "q(z1|x,z2)"]
SAYS_LABELLED = ["LabelledVAE(", "p(y)", "p(z|y)", "p(x|z,y)", "q(y|x)", "q(z|x,y)"]

CASES = {
    "VAE": Case(plain, lambda: (bits(4),), weigh_vae(), ["VAE(", "p(z)", "p(x|z)", "q(z|x)"]),
    "VAE, c": Case(
        partial(conditional, False),
        lambda: (bits(4), torch.randn(ROWS, 3)),
        weigh_vae(lik=[0], q=[0]),
        ["VAE(", "p(z)", "p(x|z,c)", "q(z|x,c)"],
    ),
    "VAE, p(z|c)": Case(
        partial(conditional, True),
        lambda: (bits(4), torch.randn(ROWS, 3)),
        weigh_vae([0], [0], [0]),
        ["VAE(", "p(z|c)", "p(x|z,c)", "q(z|x,c)"],
    ),
    "VAE, two covariates": Case(
        two_covariates,
        lambda: (bits(4), torch.randn(ROWS, 3), torch.randn(ROWS, 5)),
        weigh_vae([1], [0, 1], [0]),
        ["VAE(", "p(z|c)", "p(x|z,c)", "q(z|x,c)"],
    ),
    "VAE, c for one part": Case(
        for_likelihood_alone,
        lambda: (bits(4), torch.randn(ROWS, 3)),
        weigh_vae(lik=[0]),
        ["VAE(", "p(z)", "p(x|z,c)", "q(z|x)"],
    ),
    "VAE, listed": Case(
        enumerated,
        lambda: (bits(4),),
        weigh_enumerated,
        ["VAE(", "p(z)", "p(x|z)", "q(z|x)"],
        drawn=False,
        lists=True,
    ),
    "VAE, counts": Case(
        counts,
        cells,
        weigh_counts,
        ["VAE(", "p(z)", "p(x|z,c)", "q(z|x,c)"],
    ),
    "bottom-up": Case(
        bottom_up,
        lambda: (bits(4),),
        weigh_two_levels,
        ["HierarchicalVAE(", "p(z2)", "p(z1|z2)", "p(x|z1)", "q(z1|x)", "q(z2|z1)"],
    ),
    "three levels": Case(
        partial(bottom_up, 3),
        lambda: (bits(4),),
        weigh_three_levels,
        [
            *("HierarchicalVAE(", "p(z3)", "p(z2|z3)", "p(z1|z2)", "p(x|z1)"),
            *("q(z1|x)", "q(z2|z1)", "q(z3|z2)"),
        ],
    ),
    "top-down": Case(
        top_down,
        lambda: (bits(4),),
        weigh_two_levels,
        SAYS_TOP_DOWN,
    ),
    "top-down, shared": Case(
        partial(top_down, True),
        lambda: (bits(4),),
        weigh_two_levels,
        SAYS_TOP_DOWN,
    ),
    "all labels": Case(
        partial(labelled, True),
        lambda: (bits(4), ALL),
        weigh_labelled,
        SAYS_LABELLED,
        lists=True,
    ),
    "some labels": Case(
        partial(labelled, True),
        lambda: (bits(4), SOME),
        weigh_labelled,
        SAYS_LABELLED,
        lists=True,
    ),
    "some labels, q(z|x)": Case(
        partial(labelled, False),
        lambda: (bits(4), SOME),
        weigh_labelled,
        ["LabelledVAE(", "p(y)", "p(z)", "p(x|z,y)", "q(y|x)", "q(z|x)"],
        lists=True,
    ),
    "no labels known": Case(
        partial(labelled, True),
        lambda: (bits(4), torch.full((ROWS,), -1)),
        weigh_labelled,
        SAYS_LABELLED,
        lists=True,
    ),
    "no labels": Case(
        partial(labelled, False),
        lambda: (bits(4),),
        weigh_labelled,
        ["LabelledVAE(", "p(y)", "p(z)", "p(x|z,y)", "q(y|x)", "q(z|x)"],
        lists=True,
    ),
    "clusters": Case(
        clusters,
        lambda: (bits(4),),
        weigh_clusters,
        ["LabelledVAE(", "p(y)", "p(z|y)", "p(x|z)", "q(y|x)", "q(z|x)"],
        lists=True,
    ),
    "sequence": Case(
        sequence,
        lambda: (bits(3, 4), LENGTHS),
        weigh_sequence,
        ["SequenceVAE(", "p(z_t|z_t-1)", "p(x_t|z_t)", "q(z_t|z_t-1,h_t)"],
    ),
    "product": Case(
        partial(modalities, "product"),
        with_gaps,
        weigh_modalities,
        ["MultimodalVAE(", "p(z)", "p(image|z)", "p(text|z)", "q(z|image)", "q(z|text)"],
    ),
    "mixture": Case(
        partial(modalities, "mixture"),
        with_gaps,
        weigh_modalities,
        ["MultimodalVAE(", "p(z)", "p(image|z)", "p(text|z)", "q(z|image)", "q(z|text)"],
    ),
    "topics, product": Case(
        partial(topics, False),
        documents,
        weigh_topics,
        ["VAE(", "p(z)", "p(x|z)", "q(z|x)"],
    ),
    "topics, mixture": Case(
        partial(topics, True),
        documents,
        weigh_topics,
        ["VAE(", "p(z)", "p(x|z)", "q(z|x)"],
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def build(case, seed=0):
    torch.manual_seed(seed)
    pair = case.make()
    torch.manual_seed(100)
    return pair, case.data()


def gets_no_gradient(case, pair):
    """Parts without a say in the loss: q(y | x), where every label is known."""
    data = build(case)[1]
    if isinstance(pair, pv.LabelledVAE) and len(data) > 1 and bool((data[1] >= 0).all()):
        return {name for name, _ in pair.named_parameters() if name.startswith("classifier")}
    return set()


@every_case
def test_stock_svi_moves_every_parameter(case):
    pair, data = build(case)
    elbo = TraceEnum_ELBO(max_plate_nesting=1) if case.lists else Trace_ELBO()
    svi = SVI(pair.model, pair.guide, Adam({"lr": 0.01}), elbo)
    before = copy.deepcopy(pair.state_dict())
    losses = [svi.step(*data) for _ in range(3)]
    assert all(loss == loss for loss in losses)
    still = {n for n, p in pair.named_parameters() if torch.equal(before[n], p)}
    # TraceEnum_ELBO gives q(y | x) a gradient of mean zero, where y is known
    assert still <= gets_no_gradient(case, pair)
    assert all(value.isfinite().all() for value in pair.state_dict().values())


@every_case
def test_fit_and_resume_bit_for_bit(case, tmp_path):
    path, options = tmp_path / "run.safetensors", {"batch_size": 4, "seed": 3, "progress": False}
    whole, data = build(case)
    before = copy.deepcopy(whole.state_dict())
    history = pv.fit(whole, *data, epochs=4, **options)
    assert len(history.loss) == 4
    still = {n for n, p in whole.named_parameters() if torch.equal(before[n], p)}
    assert still == gets_no_gradient(case, whole)

    first, _ = build(case)
    pv.fit(first, *data, epochs=2, checkpoint=path, **options)
    second, _ = build(case, seed=1)
    pv.fit(second, *data, epochs=4, checkpoint=path, resume=True, **options)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@every_case
def test_weights_are_saved_and_loaded(case, tmp_path):
    pair, data = build(case)
    pv.save_weights(pair, tmp_path / "pair.safetensors")
    other, _ = build(case, seed=1)
    pv.load_weights(other, tmp_path / "pair.safetensors")
    torch.manual_seed(0)
    first = pv.diagnostics.log_weights(pair, *data, num_samples=2)
    torch.manual_seed(0)
    assert torch.equal(first, pv.diagnostics.log_weights(other, *data, num_samples=2))


def run(loss, objective, data):
    """A step without its last part. Statistics that a network keeps are put back."""
    torch.manual_seed(3)
    kept = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    objective.zero_grad()
    value = loss(*data)
    value.backward()
    after = torch.rand(3)
    for buffer, before in kept:
        buffer.copy_(before)
    return value.detach(), {n: p.grad for n, p in objective.named_parameters()}, after


EXPORTED = [(name, None) for name in CASES]
EXPORTED_TWICE = ("VAE, listed", "top-down", "some labels", "mixture", "topics, product")
EXPORTED += [(name, 2) for name in EXPORTED_TWICE]


@pytest.mark.parametrize(("name", "draws"), EXPORTED, ids=str)
def test_an_objective_is_exported_for_every_batch_size(name, draws):
    pair, data = build(CASES[name])
    objective = pv.Objective(pair, draws and pv.ImportanceWeighted(draws))
    exported = CompiledLoss(objective.forward, [objective], backend="eager")
    for rows in (ROWS, 4):
        part = tuple(d[:rows] for d in data)
        value, gradients, after = run(objective.forward, objective, part)
        gradients = {n: None if g is None else g.clone() for n, g in gradients.items()}
        same_value, same_gradients, same_after = run(exported, objective, part)
        torch.testing.assert_close(same_value, value, rtol=1e-5, atol=1e-5)
        assert torch.equal(after, same_after), "the same random numbers are drawn"
        for name, gradient in gradients.items():
            other = same_gradients[name]
            if gradient is None or other is None:
                known = gradient if other is None else other
                assert known is None or not known.any(), name
                continue
            torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-5, msg=name)
    assert len(exported._compiled) == 1, "one graph for all batch sizes"


@every_case
def test_weights_are_the_arithmetic_of_the_parts(case):
    pair, data = build(case)
    data = admit(pair, data)
    with quietly(pair):
        torch.manual_seed(1)
        weights = weigh(pair, data, DRAWS)
        torch.manual_seed(1)
        z = latent_values(trace(pair.guide, data, draws=DRAWS, lists=True))
        truth = case.by_hand(pair, data, z)
    torch.testing.assert_close(weights.log_weight, truth, rtol=1e-4, atol=1e-4)


@every_case
def test_importance_weighted(case):
    pair, data = build(case)
    objective = pv.Objective(pair, pv.ImportanceWeighted(5))
    loss = objective(*data)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in pair.parameters())


@every_case
def test_annealing_agrees_with_importance_sampling(case):
    pair, data = build(case)
    if not case.drawn:
        with pytest.raises(ValueError, match="listed"):
            pv.diagnostics.annealed_log_evidence(pair, *data, num_steps=2, progress=False)
        return
    data = tuple(d[:4] for d in data)
    sampled = pv.diagnostics.log_evidence(pair, *data, num_samples=4000, progress=False)
    annealed = pv.diagnostics.annealed_log_evidence(
        pair, *data, num_steps=15, num_chains=30, num_leapfrog=4, progress=False
    )
    error = (sampled.stderr**2 + annealed.stderr**2).sqrt()
    assert ((annealed.value - sampled.value).abs() < 5 * error + 1e-6).all()


SOME_CASES = [
    "VAE, p(z|c)",
    "VAE, counts",
    "top-down, shared",
    "some labels",
    "sequence",
    "product",
    "mixture",
]


@pytest.mark.parametrize("name", SOME_CASES)
def test_gaps_brackets_and_calibration_run(name):
    pair, data = build(CASES[name])
    data = tuple(d[[0, 1, 2]] for d in data)
    quiet = {"progress": False}
    gaps = pv.diagnostics.inference_gaps(
        pair, *data, family=pv.MultivariateNormal, num_steps=5, num_samples=50, **quiet
    )
    assert gaps.approximation.value.isfinite().all()
    bracket = pv.diagnostics.bracket(pair, *data, num_steps=2, num_chains=3, **quiet)
    assert bracket.lower.value.isfinite().all()
    many = tuple(d[torch.arange(12) % 3] for d in data)
    found = pv.diagnostics.calibrate(pair, *many, num_draws=9, **quiet)
    assert len(found.ranks) == 12


def test_nothing_is_left_to_refit_where_all_is_listed():
    pair, data = build(CASES["VAE, listed"])
    with pytest.raises(ValueError, match=r"every latent is listed.*posterior_gap is exact"):
        pv.diagnostics.inference_gaps(pair, *data, num_steps=5, progress=False)


@every_case
def test_picture_prints(case):
    pair, data = build(case)
    seen = pv.diagnostics.picture(pair, *data, num_samples=50, progress=False)
    assert "log p(x)" in str(seen)
    difference = seen.evidence.value - seen.elbo.value - seen.gap.value
    assert difference.abs().max() < 1e-9
    assert (seen.gap.value > -1e-9).all()


@every_case
def test_the_terms_of_sites_add_up(case):
    pair, data = build(case)
    found = pv.diagnostics.elbo(pair, *data, num_samples=4, per_site=True, progress=False)
    terms = (found.reconstruction, found.observed), (found.kl, found.latent)
    for whole, sites in terms:
        torch.testing.assert_close(sum(site.value for site in sites.values()), whole.value)


@every_case
def test_repr_reads_like_the_story(case):
    first, *labels = case.story
    lines = repr(build(case)[0]).splitlines()
    assert lines[0] == first
    assert lines[-1] == ")"
    assert [line.split(" = ")[0].strip() for line in lines[1:-1]] == labels
    assert len({line.index(" = ") for line in lines[1:-1]}) == 1


@every_case
def test_check_finds_no_problem(case):
    pair, data = build(case)
    problems = pv.check(pair, *data).problems
    silent = gets_no_gradient(case, pair)
    assert problems == [] or (silent and len(problems) == 1 and "classifier" in problems[0])


@every_case
def test_simulate_and_reconstruct(case):
    pair, data = build(case)
    drawn = pv.simulate(pair, *data)
    seen = pv.reconstruct(pair, *data)
    name = "image" if isinstance(pair, pv.MultimodalVAE) else "x"
    assert drawn[name].shape == seen[name].shape == data[0].shape
    assert drawn[name].isfinite().all()


def test_a_pair_leaves_no_parameters_behind_it():
    for case in CASES.values():
        pair, data = build(case)
        pv.Objective(pair)(*data)
    assert not list(pyro.get_param_store())
