"""Subsets of modalities: with exact experts every term is log p of what it is shown."""

from functools import partial

import pytest
import torch

import pyro_vae as pv
from pyro_vae.compiling.loss import CompiledLoss
from pyro_vae.objectives.subsets import hide
from tests.oracles import linear_modalities, plain, with_gaps, within
from tests.runs import equal

NAN = torch.nan
net = partial(pv.networks.mlp, hidden=(5,))


def make(join="product"):
    torch.manual_seed(0)
    return pv.MultimodalVAE(
        prior=pv.StandardNormal(2),
        likelihoods={
            "image": pv.Bernoulli((2, 2), given=2, net=net),
            "text": pv.Bernoulli(3, given=2, net=net),
            "label": pv.OneHotCategorical(3, given=2, net=net),
        },
        experts={
            "image": pv.Normal(2, given=(2, 2), net=net),
            "text": pv.Normal(2, given=3, net=net),
            "label": pv.Normal(2, given=3, net=net),
        },
        join=join,
    )


def data(n=20):
    torch.manual_seed(1)
    image, text = (torch.bernoulli(torch.full(shape, 0.5)) for shape in ((n, 2, 2), (n, 3)))
    label = torch.eye(3)[torch.arange(n) % 3]
    image[1], text[1], label[4] = NAN, NAN, NAN
    return image, text, label


def log_p(image, text):
    """log p of all, of the image, of the text, and of nothing hidden where nothing is left."""
    truth = linear_modalities().truth
    nothing = [torch.full_like(values, NAN) for values in (image, text)]
    has_image, has_text = (~values.isnan().any(1) for values in (image, text))
    alone = truth(
        torch.where(has_image[:, None], image, NAN),
        torch.where(has_image[:, None], nothing[1], text),
    )
    other = truth(
        torch.where(has_text[:, None], nothing[0], image), torch.where(has_text[:, None], text, NAN)
    )
    return truth(image, text), alone, other


def test_each_term_is_a_bound_on_what_it_is_shown():
    """With exact experts a bound is an equality, draw by draw."""
    x, pair = with_gaps(), linear_modalities().pair()
    loss = pv.Subsets(pv.Objective(pair))(*x)
    torch.testing.assert_close(-loss, sum(log_p(*x)).mean(), rtol=1e-6, atol=1e-6)


def test_random_subsets_show_each_modality_half_of_the_time():
    image, text = with_gaps()
    pair, k, repeats = linear_modalities().pair(), 3, 400
    objective = pv.Subsets(pv.Objective(pair), random=k)
    every, first, second = log_p(image, text)
    expected = every + first + second + k * (2 * every + first + second) / 4

    torch.manual_seed(0)
    found = torch.stack([-objective(image, text) for _ in range(repeats)])
    assert found.std() > 0
    assert within(found.mean(), expected.mean(), found.std() / repeats**0.5)


def test_a_seed_gives_the_subsets():
    pair, x = make(), data()
    objective = pv.Subsets(pv.Objective(pair), random=2)
    losses = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        losses.append(objective(*x).item())
    assert losses[0] == losses[1] != losses[2]


def test_what_is_hidden():
    a, b = torch.arange(4.0)[:, None], torch.arange(8).reshape(4, 1, 2).double()
    b[3] = NAN
    shown = torch.tensor([[True, True], [True, False], [False, True], [False, True]])
    found = hide((a, b), shown)
    assert found[0].isnan().flatten().tolist() == [False, False, True, False]
    assert found[1].isnan().all(-1).flatten().tolist() == [False, True, False, True]
    assert torch.equal(found[1][[0, 2]], b[[0, 2]])


def test_a_schedule_counts_a_step_once():
    pair = make()
    objective = pv.KLWeight(pv.Subsets(pv.Objective(pair), random=1), pv.linear(10))
    objective(*data()), objective(*data())
    assert int(objective.steps) == 2


def test_it_is_no_bound_on_all_modalities_and_says_its_terms():
    objective = pv.Subsets(pv.Objective(make()), random=2)
    assert not objective.is_lower_bound
    assert objective.terms == 6


@pytest.mark.parametrize(
    ("join", "elbo"), [("product", None), ("mixture", pv.ImportanceWeighted(3))]
)
def test_it_is_exported_for_every_batch_size(join, elbo):
    pair = make(join)
    objective = pv.Subsets(pv.Objective(pair, elbo), random=1)
    exported = CompiledLoss(objective.forward, [objective], backend="eager")
    for rows in (20, 7):
        x = tuple(values[:rows] for values in data())
        torch.manual_seed(2)
        loss = objective(*x)
        torch.manual_seed(2)
        torch.testing.assert_close(exported(*x), loss)
    gradients = torch.autograd.grad(loss, list(pair.parameters()), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)


def test_training_goes_on_where_it_was_interrupted(tmp_path):
    def fit(pair, epochs, **options):
        objective = pv.Subsets(pv.Objective(pair), random=2)
        settings = {"batch_size": 8, "seed": 3, "progress": False}
        pv.fit(pair, *data(), epochs=epochs, objective=objective, **settings, **options)
        return pair

    path = tmp_path / "run.safetensors"
    whole = fit(make(), 4)
    fit(make(), 2, checkpoint=path)
    assert equal(fit(make(), 4, checkpoint=path, resume=True), whole)


@pytest.mark.parametrize(
    ("objective", "random", "error", "words"),
    [
        (lambda: pv.Objective(plain()), 0, TypeError, "objective: .*of a MultimodalVAE"),
        (make, 0, TypeError, "objective: expected a pv.Objective"),
        (lambda: pv.Objective(make()), -1, ValueError, "random"),
        (lambda: pv.Objective(make()), 0.5, TypeError, "random"),
    ],
)
def test_bad_arguments(objective, random, error, words):
    with pytest.raises(error, match=words):
        pv.Subsets(objective(), random=random)


def test_whole_numbers_cannot_be_hidden():
    image, text, label = (values.nan_to_num() for values in data())
    with pytest.raises(TypeError, match=r"text: expected floats.*torch\.int64.*text\.float\(\)"):
        pv.Subsets(pv.Objective(make()))(image, text.long(), label)


def test_whole_numbers_are_refused_before_training():
    image, text, _ = (values.nan_to_num() for values in data())
    pair = pv.MultimodalVAE(
        prior=pv.StandardNormal(2),
        likelihoods={"image": pv.Bernoulli((2, 2), given=2), "text": pv.Poisson(3, given=2)},
        experts={"image": pv.Normal(2, given=(2, 2)), "text": pv.Normal(2, given=3)},
    )
    with pytest.raises(TypeError, match="text: expected floats"):
        pv.fit(pair, image, text.long(), epochs=1, objective=pv.Subsets(pv.Objective(pair)))
