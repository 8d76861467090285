"""The run as a whole: against a loop written by hand, and what it leaves alone."""

from functools import partial

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

import pyro_vae as pv
from tests.runs import RUN, X, equal, make, noisy, weights


def test_digits_are_learned():
    digits, wide = pv.data.load("digits"), partial(pv.networks.mlp, hidden=(64,))
    vae = pv.VAE(
        prior=pv.StandardNormal(5),
        likelihood=pv.Bernoulli((1, 8, 8), given=5, net=wide),
        variational=pv.Normal(5, given=(1, 8, 8), net=wide),
    )
    options = {"epochs": 12, "learning_rate": 5e-3, "transform": torch.bernoulli, "seed": 0}
    h = pv.fit(vae, digits.train, validation=digits.validation, **options)

    assert [len(column) for column in h] == [12] * 6
    assert np.array(h.elbo) == pytest.approx(np.array(h.reconstruction) - np.array(h.kl), abs=1e-9)
    assert h.loss[-1] < h.loss[0] - 10 and h.elbo[-1] > h.elbo[0] + 5
    assert h.elbo[-1] == pytest.approx(-h.loss[-1], abs=1)
    assert min(h.seconds) > 0 and h.kl[-1] > 1
    assert repr(h) == f"History(12 epochs, loss {h.loss[-1]:.3f}, elbo {h.elbo[-1]:.3f})"


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        (None, None),
        (partial(torch.optim.RMSprop, lr=1e-2), None),
        (partial(torch.optim.SGD, lr=1e-2), partial(lr_scheduler.ExponentialLR, gamma=0.5)),
        (None, partial(lr_scheduler.MultiStepLR, milestones=[1, 3])),
    ],
    ids=["adam", "rmsprop", "sgd, exponential", "adam, steps"],
)
@pytest.mark.parametrize("source", ["memory", "loader"])
def test_it_is_the_loop_written_by_hand(optimizer, schedule, source):
    loader = DataLoader(X, batch_size=12, shuffle=True)
    fitted, ours = make(), make()
    history = pv.fit(
        fitted,
        X if source == "memory" else loader,
        optimizer=optimizer,
        schedule=schedule,
        transform=noisy,
        **RUN,
    )

    parameters = list(ours.parameters())
    opt = (
        torch.optim.Adam(parameters, lr=1e-2, fused=True)
        if optimizer is None
        else optimizer(parameters)
    )
    plan = schedule(opt) if schedule else None
    losses = []
    torch.manual_seed(RUN["seed"])
    for _ in range(RUN["epochs"]):
        total = 0.0
        for batch in (
            loader if source == "loader" else (X[i] for i in torch.randperm(len(X)).split(12))
        ):
            batch = noisy(batch)
            loss = Trace_ELBO().differentiable_loss(ours.model, ours.guide, batch) / len(batch)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * len(batch)
        if plan:
            plan.step()
        losses.append(total / len(X))
    assert equal(fitted, ours)
    assert history.loss == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("flag", [False, True])
def test_global_state_is_left_as_it_was(flag, fails):
    switches = (
        "validate_distributions_pyro",
        "validate_distributions_torch",
        "validate_poutine",
        "validate_infer",
    )
    before = {name: pyro.settings.get(name) for name in switches}
    pair, seen = make(), []
    pair.likelihood.eval()
    pyro.param("of another", torch.ones(2))
    rng, modes = torch.get_rng_state(), [m.training for m in pair.modules()]
    store = {name: p.clone() for name, p in pyro.get_param_store().items()}

    def callback(history):
        seen.append([pyro.settings.get("validate_distributions_torch"), pair.likelihood.training])
        if fails:
            raise RuntimeError("from the callback")

    try:
        pyro.settings.set(**dict.fromkeys(switches, flag))
        try:
            pv.fit(pair, X, callback=callback, validation=X, patience=2, **RUN)
        except RuntimeError:
            assert fails
        after = {name: pyro.settings.get(name) for name in switches}
    finally:
        pyro.settings.set(**before)

    assert seen[0] == [False, True]
    assert after == dict.fromkeys(switches, flag)
    assert torch.equal(rng, torch.get_rng_state())
    assert modes == [m.training for m in pair.modules()]
    assert equal(store, dict(pyro.get_param_store().items()))


def test_seed():
    def trained(seed):
        pair = make()
        pv.fit(pair, X, transform=noisy, **(RUN | {"seed": seed, "epochs": 1}))
        return weights(pair)

    assert equal(trained(1), trained(1)) and not equal(trained(1), trained(2))

    torch.manual_seed(5)
    first, second = trained(None), trained(None)
    torch.manual_seed(5)
    assert equal(first, trained(None)) and not equal(first, second)


@pytest.mark.parametrize(
    "options",
    [
        {"callback": lambda history: torch.randn(3)},
        {"validation": X[:9]},
        {"validation": X[:9].numpy()},
        {"validation": [X[:9]]},
        {
            "validation": X,
            "patience": 100,
            "callback": lambda history: torch.manual_seed(1) and None,
        },
        {"progress": False},
    ],
)
def test_what_only_looks_does_not_change_the_weights(options):
    plain, watched = make(), make()
    pv.fit(plain, X, transform=noisy, **RUN)
    pv.fit(watched, X, transform=noisy, **RUN, **options)

    assert equal(plain, watched)


def test_two_pairs_of_one_name_are_both_trained():
    for pair in (make(seed=0), make(seed=1)):
        before = weights(pair)
        h = pv.fit(pair, X, **RUN)
        assert h.loss[-1] < h.loss[0]
        assert not any(torch.equal(p, before[name]) for name, p in pair.named_parameters())


@pytest.mark.parametrize(
    ("likelihood", "x", "options"),
    [
        (pv.Poisson, torch.arange(60).reshape(20, 3) % 7, {}),
        (pv.Poisson, (torch.arange(60).reshape(20, 3) % 7).byte(), {}),
        (pv.Categorical, torch.arange(60).reshape(20, 3) % 4, {"classes": 4}),
        (pv.Bernoulli, torch.arange(60).reshape(20, 3) % 2, {}),
        (pv.Bernoulli, torch.arange(60).reshape(20, 3) % 2 == 0, {}),
        (pv.Normal, X.numpy(), {}),
        (pv.Normal, X.double(), {}),
    ],
    ids=["counts", "bytes", "classes", "bits", "booleans", "numpy", "double"],
)
def test_data_of_each_kind_are_learned(likelihood, x, options):
    h = pv.fit(make(likelihood, **options), x, **(RUN | {"epochs": 40}))
    assert h.loss[-1] < h.loss[0] - 0.1 and np.isfinite(h).all()


def test_nothing_to_train():
    pair = make()
    with pytest.raises(ValueError, match="no parameters to train"):
        pv.fit(pair.requires_grad_(False), X, **RUN)
