"""The term that trains the classifier on known labels."""

from functools import partial

import pytest
import torch

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss
from tests.oracles import plain

K = 3
net = partial(pv.networks.mlp, hidden=(5,))
Y = torch.tensor([0, -1, 2, -1, 1])


def make():
    torch.manual_seed(0)
    return pv.LabelledVAE(
        labels=pv.OneHotCategorical(K, logits=0.0),
        prior=pv.StandardNormal(2),
        likelihood=pv.Bernoulli(4, given=[2, K], net=net),
        classifier=pv.OneHotCategorical(K, given=4, net=net),
        variational=pv.Normal(2, given=[4, K], net=net),
    )


def data():
    torch.manual_seed(1)
    return torch.bernoulli(torch.full((5, 4), 0.5))


def term(pair, x, y):
    """The mean over all rows of log q(y | x) of the known ones, row by row."""
    log_q = pair.classifier(x).logits
    return sum(log_q[i, k] for i, k in enumerate(y.tolist()) if k >= 0) / len(y)


@pytest.mark.parametrize("y", [Y, torch.full((5,), -1), torch.tensor([0, 1, 2, 1, 1])])
def test_it_adds_the_known_labels(y):
    pair, x = make(), data()
    objective = pv.Objective(pair)
    whole = pv.Classification(objective, weight=7.0)
    torch.manual_seed(2)
    plain = objective(x, y)
    torch.manual_seed(2)
    loss = whole(x, y)
    torch.testing.assert_close(loss, plain - 7.0 * term(pair, x, y))

    found = torch.autograd.grad(loss, list(pair.parameters()), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in found)
    truth = plain - 7.0 * term(pair, x, y)
    expected = torch.autograd.grad(truth, list(pair.parameters()), allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_without_the_argument_no_label_is_known():
    pair, x = make(), data()
    objective = pv.Objective(pair)
    torch.manual_seed(2)
    plain = objective(x)
    torch.manual_seed(2)
    assert torch.equal(pv.Classification(objective, weight=7.0)(x), plain)


def test_at_weight_zero_it_is_the_objective_and_else_no_bound():
    pair, x = make(), data()
    objective = pv.Objective(pair)
    torch.manual_seed(2)
    plain = objective(x, Y)
    torch.manual_seed(2)
    none = pv.Classification(objective, weight=0.0)
    torch.testing.assert_close(none(x, Y), plain)
    assert objective.is_lower_bound
    assert not pv.Classification(objective, weight=1.0).is_lower_bound


def test_it_teaches_the_classifier():
    pair = make()
    x = torch.bernoulli(torch.full((60, 4), 0.5))
    y = torch.where(x[:, 0] > 0, 1, 2 * x[:, 1].long())
    y = torch.where(torch.arange(60) % 2 > 0, y, -1)
    objective = pv.Classification(pv.Objective(pair), weight=50.0)
    pv.fit(pair, x, y, epochs=60, learning_rate=0.02, objective=objective, seed=0, progress=False)
    guess = pair.classifier(x).logits.argmax(-1)
    assert (guess == y)[y >= 0].float().mean() > 0.95


def test_it_is_exported_for_every_batch_size():
    pair, x = make(), data()
    objective = pv.Classification(pv.Objective(pair, pv.ImportanceWeighted(2)), weight=3.0)
    exported = CompiledLoss(objective.forward, [objective], backend="eager")
    for rows in (5, 3):
        torch.manual_seed(2)
        loss = objective(x[:rows], Y[:rows])
        torch.manual_seed(2)
        torch.testing.assert_close(exported(x[:rows], Y[:rows]), loss)
    assert len(exported._compiled) == 1


NONE = torch.full((5,), -1)


@pytest.mark.parametrize("labels", [(), (NONE,)])
@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: pv.KLWeight(o, 0.5)])
def test_without_a_known_label_nothing_is_trained(labels, wrap):
    pair, x = make(), data()
    objective = wrap(pv.Classification(pv.Objective(pair), weight=7.0))
    before = [p.clone() for p in pair.parameters()]
    words = "objective: .*no label is known in the 5 rows"
    with pytest.raises(ValueError, match=words):
        pv.fit(pair, x, *labels, epochs=1, objective=objective, progress=False)
    assert all(torch.equal(p, q) for p, q in zip(pair.parameters(), before, strict=True))


def test_what_has_no_term_needs_no_label():
    pair, x = make(), data()
    for objective in (pv.Objective(pair), pv.Classification(pv.Objective(pair), weight=0.0)):
        history = pv.fit(pair, x, NONE, epochs=1, objective=objective, progress=False)
        assert len(history.loss) == 1


def test_a_batch_without_a_known_label_is_trained_on():
    """One label in five batches of one row: the others have only the ELBO."""
    pair, x = make(), data()
    objective = pv.Classification(pv.Objective(pair), weight=50.0)
    y = torch.tensor([-1, -1, 2, -1, -1])
    options = {"batch_size": 1, "learning_rate": 0.02, "objective": objective, "seed": 0}
    history = pv.fit(pair, x, y, epochs=20, progress=False, **options)
    assert torch.tensor(history.loss).isfinite().all()
    assert pair.classifier(x[2]).probs[2] > 0.9


@pytest.mark.parametrize(
    ("objective", "weight", "error", "words"),
    [
        (lambda: pv.Objective(plain()), 1.0, TypeError, "objective: .*of a LabelledVAE"),
        (make, 1.0, TypeError, "objective: expected a pv.Objective"),
        (lambda: pv.Objective(make()), -1.0, ValueError, "weight"),
        (lambda: pv.Objective(make()), float("inf"), ValueError, "weight"),
        (lambda: pv.Objective(make()), "1", TypeError, "weight"),
    ],
)
def test_bad_arguments(objective, weight, error, words):
    with pytest.raises(error, match=words):
        pv.Classification(objective(), weight=weight)
