"""Training: the loop against one written by hand, what it leaves alone, exact resume, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import pyro_vae as pv
from pyro_vae.training.checkpoints import load_weights, save_weights

small = partial(pv.networks.mlp, hidden=(8,))
X = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) @ torch.tensor(
    [[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]
)
RUN = {"epochs": 4, "batch_size": 12, "learning_rate": 1e-2, "seed": 3}


@pytest.fixture(autouse=True)
def fresh():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def make(likelihood=pv.Normal, event=3, seed=0, cls=pv.VAE, given=None, **options):
    """A small pair, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return cls(
            prior=pv.StandardNormal(2),
            likelihood=likelihood(event, given=2, **({"net": small} | options)),
            variational=pv.Normal(2, given=event, net=small),
        )


def weights(pair):
    return {name: p.detach().clone() for name, p in pair.named_parameters()}


def equal(a, b):
    a, b = (weights(m) if isinstance(m, nn.Module) else m for m in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def noisy(x):
    return x + 0.1 * torch.randn_like(x)


class Conditional(nn.Module):
    """z ~ N(0, I), x ~ p(x | z, y), written by hand."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2 + 2, 3)
        self.encoder = nn.Linear(3 + 2, 4)

    def model(self, x, y):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = self.decoder(torch.cat([z, y.expand(*z.shape[:-1], 2)], -1))
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(self, x, y):
        with pyro.plate("data", x.shape[0]):
            loc, raw = self.encoder(torch.cat([x, y], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


def handwritten(seed=0):
    """A `Pair` of two functions, of x alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 2)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    return pv.Pair(model, guide)


# What it does


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


def test_reported_elbo_moves_with_the_weights_alone():
    h = pv.fit(make(), X, optimizer=partial(torch.optim.SGD, lr=0.0), **RUN)
    assert len(set(h.elbo)) == 1 < len(set(h.loss))


def test_reported_elbo_is_of_the_validation_data_at_weight_one():
    x_val = X[:7] + 1
    plain = pv.fit(make(), X, validation=x_val, **RUN)
    pair = make()
    annealed = pv.fit(
        pair, X, validation=x_val, objective=pv.KLWeight(pv.Objective(pair), 0.0), **RUN
    )
    again = pv.diagnostics.elbo(pair, x_val, num_samples=4000)

    assert plain.elbo[0] == pytest.approx(-plain.loss[0], rel=0.5)
    assert annealed.kl[-1] > plain.kl[-1] > 0
    assert annealed.loss[-1] < -annealed.elbo[-1] - 0.5 * annealed.kl[-1]
    spread = again.stderr * 4000**0.5 / 7
    assert abs(annealed.elbo[-1] - again.value.mean()) < 5 * spread.square().sum().sqrt()


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


def test_callback_stops_the_run_by_true_alone():
    seen = []
    h = pv.fit(
        make(), X, **RUN, callback=lambda history: seen.append(len(history.loss)) or len(seen) == 2
    )
    assert seen == [1, 2] and len(h.loss) == 2

    assert len(pv.fit(make(), X, **RUN, callback=lambda history: history).loss) == 4


def ruin(optimizer, after=3):
    """A schedule whose rate is far too high after some epochs, so that the ELBO must fall."""
    return lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 if epoch < after else 300.0)


def test_early_stopping_restores_the_best_weights(tmp_path):
    pair, path, after = make(), tmp_path / "run.safetensors", []
    options = RUN | {"epochs": 30, "patience": 2, "schedule": ruin, "checkpoint": path}
    h = pv.fit(
        pair, X, validation=X, callback=lambda history: after.append(weights(pair)), **options
    )
    best = int(np.argmax(h.elbo))

    assert best == 2 and len(h.elbo) == best + 1 + 2
    assert equal(pair, after[best]) and not equal(pair, after[-1])

    read = make(seed=1)
    load_weights(read, path)
    assert equal(read, pair)


@pytest.mark.parametrize("kind", ["VAE", "Pair"])
@pytest.mark.parametrize("labels", [False, True])
def test_loader(kind, labels):
    pair = {"VAE": make, "Pair": handwritten}[kind]()
    before = weights(pair)
    data = TensorDataset(X, torch.arange(len(X))) if labels else TensorDataset(X)
    h = pv.fit(pair, DataLoader(data, batch_size=10, shuffle=True), **RUN)

    assert np.isfinite(h).all()
    assert h.loss[-1] < h.loss[0] - 0.1
    assert not any(torch.equal(p, before[name]) for name, p in pair.named_parameters())


def test_two_pairs_of_one_name_are_both_trained():
    for pair in (make(seed=0), make(seed=1)):
        before = weights(pair)
        h = pv.fit(pair, X, **RUN)
        assert h.loss[-1] < h.loss[0]
        assert not any(torch.equal(p, before[name]) for name, p in pair.named_parameters())


@pytest.mark.parametrize("source", ["memory", "loader"])
def test_further_data_follow_x(source):
    y = nn.functional.one_hot(torch.arange(60) % 2).float()
    x = 4 * y @ torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) + 0.5 * torch.randn(60, 3)
    pair = Conditional()
    data = (x, y) if source == "memory" else (DataLoader(TensorDataset(x, y), 10, shuffle=True),)
    h = pv.fit(pair, *data, epochs=25, batch_size=10, learning_rate=0.02, validation=(x, y), seed=0)
    right, wrong = (
        pv.diagnostics.elbo(pair, x, labels, num_samples=20).value.mean() for labels in (y, 1 - y)
    )

    assert h.elbo[-1] > h.elbo[0] + 2
    assert right > wrong + 2


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


# Exact resume


class Interrupting:
    """Noise, and an interruption at one call: a real Ctrl-C, or one that lets no step end."""

    def __init__(self, at, how):
        self.calls, self.at, self.how = 0, at, how

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.at and self.how == "signal":
            os.kill(os.getpid(), signal.SIGINT)
        elif self.calls == self.at:
            raise KeyboardInterrupt
        return noisy(x)


def stop_after(epoch, how):
    def callback(history):
        if len(history.loss) == epoch and how == "signal":
            os.kill(os.getpid(), signal.SIGINT)
        elif len(history.loss) == epoch and how == "raise":
            raise KeyboardInterrupt
        return len(history.loss) == epoch and how == "return"

    return callback


# the data are transformed once when they are checked, and the validation data once; a step follows
# each later call
INTERRUPTIONS = {
    "Ctrl-C in the first step": {"transform": Interrupting(3, "signal")},
    "Ctrl-C in the second epoch": {"transform": Interrupting(10, "signal")},
    "Ctrl-C in the last step of an epoch": {"transform": Interrupting(12, "signal")},
    "exception within a step": {"transform": Interrupting(10, "raise")},
    "Ctrl-C in a callback": {"callback": stop_after(2, "signal")},
    "exception in a callback": {"callback": stop_after(2, "raise")},
    "callback returns True": {"callback": stop_after(2, "return")},
    "fewer epochs": {"epochs": 2},
}

SETTINGS = {
    "plain": {},
    "exponential schedule": {"schedule": partial(lr_scheduler.ExponentialLR, gamma=0.7)},
    "schedule in steps": {"schedule": partial(lr_scheduler.MultiStepLR, milestones=[1, 3])},
    "momentum": {"optimizer": partial(torch.optim.SGD, lr=1e-2, momentum=0.9)},
    "no seed": {"seed": None},
    "patience": {"patience": 2, "schedule": partial(ruin, after=1), "epochs": 12},
}

SOURCES = {
    "memory": lambda: X,
    "loader": lambda: DataLoader(X, batch_size=12, shuffle=True),
    "generator": lambda: DataLoader(
        X, 12, shuffle=True, generator=torch.Generator().manual_seed(4)
    ),
}

CASES = [
    *((interruption, "plain", source) for interruption in INTERRUPTIONS for source in SOURCES),
    *(
        ("Ctrl-C in the second epoch", setting, "memory")
        for setting in SETTINGS
        if setting != "plain"
    ),
    *(("fewer epochs", setting, "loader") for setting in SETTINGS if setting != "plain"),
    ("callback returns True", "patience", "memory"),
]


@pytest.mark.parametrize(("interruption", "setting", "source"), CASES)
def test_resumed_is_bit_equal_to_never_interrupted(interruption, setting, source, tmp_path):
    path = tmp_path / "run.safetensors"
    data = SOURCES[source]
    options = RUN | {"validation": X[:20], "transform": noisy} | SETTINGS[setting]
    whole, parted = make(), make()
    torch.manual_seed(7)
    expected = pv.fit(whole, data(), **options)

    torch.manual_seed(7)
    every = 0 if "exception" in interruption else 1e9
    cut = {
        key: Interrupting(v.at, v.how) if key == "transform" else v
        for key, v in INTERRUPTIONS[interruption].items()
    }
    try:
        pv.fit(parted, data(), checkpoint=path, checkpoint_every=every, **(options | cut))
    except KeyboardInterrupt as stopped:
        assert "exception" in interruption or "resume=True" in str(stopped)
    else:
        assert "Ctrl-C" not in interruption
    assert setting == "patience" or not equal(whole, parted)

    torch.manual_seed(8)
    resumed = make(seed=1)
    history = pv.fit(resumed, data(), checkpoint=path, resume=True, **options)
    assert equal(whole, resumed)
    assert history[:4] == expected[:4]


def test_ctrl_c_while_the_last_epoch_is_measured_is_not_lost(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt, match="resume=True"):
        pv.fit(make(), X, **RUN, checkpoint=path, callback=stop_after(RUN["epochs"], "signal"))
    assert len(pv.fit(make(), X, **RUN, checkpoint=path, resume=True).loss) == RUN["epochs"]


def test_resume_of_a_finished_run_changes_nothing(tmp_path):
    path, pair, read = tmp_path / "run.safetensors", make(), make(seed=1)
    h = pv.fit(pair, X, **RUN, checkpoint=path)
    again = pv.fit(read, X, **RUN, checkpoint=path, resume=True)
    assert equal(pair, read) and again == h


def test_resume_without_a_checkpoint_yet_starts_anew(tmp_path):
    alone, resumed = make(), make()
    pv.fit(alone, X, **RUN)
    pv.fit(resumed, X, **RUN, checkpoint=tmp_path / "run.safetensors", resume=True)
    assert equal(alone, resumed)


SCRIPT = '''
"""Trains in a forked process for each case, killed at the moment that the case names, or resumes it."""
import os, signal, sys, time
from pathlib import Path
import torch, pyro_vae as pv

torch.set_num_threads(1)
torch.optim.Adam([torch.zeros(1)])  # imports what each process would import anew
folder, resume, cases = Path(sys.argv[1]), sys.argv[2] == "resume", sys.argv[3:]

def train(case, steps):
    moment, _, at = case.partition("-")
    torch.manual_seed(0)
    x, net = torch.randn(50, 3), lambda a, b: pv.networks.mlp(a, b, hidden=(8,))
    vae = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2, net=net),
        variational=pv.Normal(2, given=3, net=net),
    )

    calls = []

    def transform(x):
        calls.append(1)
        os.write(steps, b".")
        if not resume and moment in ("kill", "int") and len(calls) == int(at) + 2:
            while not (folder / f"{case}.sent").exists():
                time.sleep(1e-3)
        return x + 0.1 * torch.randn_like(x)

    if moment == "write" and not resume:
        replace, left = os.replace, [int(at)]

        def killed(a, b):
            left[0] -= 1
            if not left[0]:
                Path(a).write_bytes(Path(a).read_bytes()[:500])
                os.kill(os.getpid(), signal.SIGKILL)
            replace(a, b)

        os.replace = killed
    pv.fit(
        vae, x, epochs=5, batch_size=12, validation=x[:20], transform=transform, patience=50,
        seed=1, checkpoint=folder / f"{case}.run", checkpoint_every=0, resume=resume,
        schedule=lambda opt: torch.optim.lr_scheduler.ExponentialLR(opt, 0.9),
    )
    pv.save_weights(vae, folder / f"{case}.end")

for case in cases:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        sys.stderr = open(folder / f"{case}.{sys.argv[2]}.log", "w")
        status = 1
        try:
            train(case, write)
            status = 0
        except KeyboardInterrupt as stopped:
            print(stopped, file=sys.stderr, flush=True)
            status = 130
        finally:
            os._exit(status)
    os.close(write)
    moment, _, at = case.partition("-")
    seen = 0
    while os.read(read, 1):
        seen += 1
        if not resume and moment in ("kill", "int") and seen == int(at):
            os.kill(child, signal.SIGKILL if moment == "kill" else signal.SIGINT)
            (folder / f"{case}.sent").touch()
    print(case, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
'''

# how the run ends, and after how many batches or writings; two batches are drawn before the first
# step
MOMENTS = {
    **{f"kill-{at}": -signal.SIGKILL for at in (5, 7, 12, 20)},
    **{f"write-{at}": -signal.SIGKILL for at in (4, 11)},
    **{f"int-{at}": 130 for at in (6, 15)},
    "alone": 0,
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder of runs that were killed, and then resumed by another process, with the exit codes of both."""
    if not hasattr(os, "fork"):
        pytest.skip("needs processes that can be forked")
    folder = tmp_path_factory.mktemp("killed")
    (folder / "script.py").write_text(SCRIPT)
    codes = []
    for what, cases in (
        ("train", [*MOMENTS]),
        ("resume", [case for case in MOMENTS if case != "alone"]),
    ):
        done = subprocess.run(
            [sys.executable, "script.py", str(folder), what, *cases],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(pv.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        codes.append(dict(line.split() for line in done.stdout.splitlines()))
    return folder, *codes


@pytest.mark.parametrize("case", [case for case in MOMENTS if case != "alone"])
def test_killed_and_resumed_is_bit_equal_to_left_alone(case, killed):
    folder, first, second = killed
    assert int(first["alone"]) == 0
    assert (int(first[case]), int(second[case])) == (MOMENTS[case], 0)
    assert equal(load_file(folder / f"{case}.end"), load_file(folder / "alone.end"))


@pytest.mark.parametrize("case", [case for case in MOMENTS if case.startswith("int")])
def test_ctrl_c_says_how_to_resume(case, killed):
    folder = killed[0]
    said = (folder / f"{case}.train.log").read_text()
    assert "stopped in epoch" in said and f"checkpoint='{folder / case}.run', resume=True" in said


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("at", [4, 10])
def test_resume_is_exact_on_a_gpu(at, tmp_path):
    whole, parted, resumed = make(), make(), make(seed=1)
    options = RUN | {"device": "cuda", "checkpoint_every": 0}
    pv.fit(whole, X, transform=noisy, **options)
    with pytest.raises(KeyboardInterrupt):
        pv.fit(
            parted, X, transform=Interrupting(at, "signal"), checkpoint=tmp_path / "run", **options
        )
    pv.fit(resumed, X, transform=noisy, checkpoint=tmp_path / "run", resume=True, **options)
    assert equal(whole, resumed)


# What is not finite


class TurnsBad(nn.Module):
    """A layer whose output, in training, is NaN from some call on."""

    def __init__(self, inputs, outputs, calls):
        super().__init__()
        self.linear, self.left = nn.Linear(inputs, outputs), calls

    def forward(self, b):
        self.left -= self.training
        return self.linear(b) * (float("nan") if self.left < 0 else 1.0)


class Ruins(torch.optim.SGD):
    """A step of gradient descent, which at its k-th call puts a NaN into the last parameter."""

    def __init__(self, parameters, k):
        super().__init__(parameters, lr=1e-3)
        self.left = k

    def step(self, closure=None):
        super().step(closure)
        self.left -= 1
        if not self.left:
            self.param_groups[0]["params"][-1].data.view(-1)[0] = float("nan")


def bad_likelihood():
    return make(net=TurnsBad(2, 6, 7)), {}


def bad_variational():
    pair = make()
    pair.variational = pv.Normal(2, given=3, net=TurnsBad(3, 4, 7))
    return pair, {}


def bad_weights():
    return make(), {"optimizer": partial(Ruins, k=7)}


def bad_term():
    class WithTerm(pv.Objective):
        left = 7

        def forward(self, *data):
            self.left -= 1
            return super().forward(*data) + (float("inf") if self.left < 0 else 0.0)

    pair = make()
    return pair, {"objective": WithTerm(pair)}


@pytest.mark.parametrize(
    ("ruined", "words"),
    [
        (
            bad_likelihood,
            r"the loss is nan in epoch 2, step 3: .* of site 'x' of the model is not finite, first for row",
        ),
        (
            bad_variational,
            r"the loss is nan in epoch 2, step 3: the value of site 'z' of the guide is not finite",
        ),
        (
            bad_weights,
            r"epoch 2, step 3: 1 of \d+ values of the parameter pair\.variational\.\S+ are not finite",
        ),
        (
            bad_term,
            r"the loss is inf in epoch 2, step 3: each site is finite by itself, so a term that the objective",
        ),
    ],
)
@pytest.mark.parametrize("every", [0, 1e9, None])
@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_not_finite(ruined, words, every, tmp_path):
    path = tmp_path / "run.safetensors"
    pair, options = ruined()
    kept = {} if every is None else {"checkpoint": path, "checkpoint_every": every}
    with pytest.raises(FloatingPointError, match=words) as caught:
        pv.fit(pair, X, batch_size=10, epochs=3, seed=0, **kept, **options)

    last = {
        0: f"the last good checkpoint is {path}",
        1e9: "no checkpoint was written yet",
        None: "no checkpoint= was",
    }
    assert last[every] in str(caught.value)
    assert path.exists() == (every == 0)
    if path.exists():
        assert all(t.isfinite().all() for t in load_file(path).values())
        assert json.loads(notes(path))["position"][0] == (1 if ruined is bad_weights else 2)


def notes(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as f:
        return f.metadata()["pyro_vae"]


@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_ctrl_c_does_not_overwrite_the_last_good_checkpoint(tmp_path):
    path, pair = tmp_path / "run.safetensors", make()
    pv.fit(pair, X, **(RUN | {"epochs": 1}), checkpoint=path)
    good = path.read_bytes()
    options = {"transform": Interrupting(4, "signal"), "objective": ruined_in_step(pair, 2)}
    # a KeyboardInterrupt that got out would end pytest
    with pytest.raises(
        (FloatingPointError, KeyboardInterrupt),
        match=r"pair\.\S+ are not finite.*last good checkpoint",
    ):
        pv.fit(pair, X, **RUN, checkpoint=path, checkpoint_every=1e9, resume=True, **options)
    assert path.read_bytes() == good


def ruined_in_step(pair, k):
    """An objective whose gradient is NaN at its k-th call, its loss finite."""

    class Ruined(pv.Objective):
        left = k

        def forward(self, *data):
            self.left -= 1
            loss = super().forward(*data)
            if not self.left:
                loss.register_hook(lambda g: g * float("nan"))
            return loss

    return Ruined(pair)


# Checkpoints and weights


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def truncate_to_header(path):
    path.write_bytes(path.read_bytes()[:100])


def randomise(path):
    path.write_bytes(np.random.RandomState(0).bytes(5000))


def strip(path):
    save_weights(make(), path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "is not a whole safetensors file"),
        (truncate_to_header, "truncated, corrupted or of another kind"),
        (randomise, "truncated, corrupted or of another kind"),
        (lambda path: path.write_bytes(b""), "truncated, corrupted or of another kind"),
        (lambda path: torch.save(torch.ones(3), path), r"pickles are never opened"),
        (strip, "holds weights, but no state of a run"),
        (lambda path: save_file({"a": torch.ones(3)}, path), "no state of a run"),
    ],
)
def test_damaged_checkpoint(damage, words, tmp_path):
    path, pair = tmp_path / "run.safetensors", make()
    pv.fit(pair, X, **(RUN | {"epochs": 1}), checkpoint=path)
    damage(path)
    before = weights(pair)
    with pytest.raises(ValueError, match=words):
        pv.fit(pair, X, **RUN, checkpoint=path, resume=True)
    assert equal(pair, before)


def test_pickle_in_place_of_a_checkpoint_does_not_run(tmp_path):
    path, marker = tmp_path / "run", tmp_path / "it ran"
    torch.save(Payload(marker), path)
    for read in (
        lambda: pv.fit(make(), X, **RUN, checkpoint=path, resume=True),
        lambda: load_weights(make(), path),
    ):
        with pytest.raises(ValueError, match="pickles are never opened"):
            read()
    assert not marker.exists()

    torch.load(path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize(
    ("pair", "data", "options", "words"),
    [
        (
            make(net=partial(pv.networks.mlp, hidden=(9,))),
            X,
            {},
            r"of another pair: \d+ tensors differ.*expected.*got",
        ),
        (make(), X[:49], {}, "of a run on other data or batches.*'rows': 50.*'rows': 49"),
        (make(), X, {"batch_size": 13}, "other data or batches.*12.*13"),
        (make(), DataLoader(X, 12), {}, "other data or batches"),
        (
            make(),
            X,
            {"optimizer": partial(torch.optim.SGD, lr=1e-2)},
            "another optimizer or schedule, .*Adam.*SGD",
        ),
        (make(), X, {"schedule": ruin}, "another optimizer or schedule, .*NoneType.*LambdaLR"),
    ],
    ids=["pair", "rows", "batch size", "loader", "optimizer", "schedule"],
)
def test_checkpoint_of_another_run(pair, data, options, words, tmp_path):
    path = tmp_path / "run.safetensors"
    pv.fit(make(), X, **RUN, checkpoint=path)
    with pytest.raises(ValueError, match=words):
        pv.fit(pair, data, **(RUN | options), checkpoint=path, resume=True)


def test_checkpoint_that_exists_is_not_overwritten(tmp_path):
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(ValueError, match="already holds a run; go on with resume=True"):
        pv.fit(make(), X, **RUN, checkpoint=path)
    assert path.read_bytes() == b"precious"


def vamp(seed=0):
    torch.manual_seed(seed)
    q = pv.Normal(2, given=3, net=small)
    return pv.VAE(
        prior=pv.Vamp(q, X[:5]), likelihood=pv.Normal(3, given=2, net=small), variational=q
    )


@pytest.mark.parametrize("build", [make, vamp, handwritten])
def test_weights_are_saved_and_loaded(build, tmp_path):
    pair, read = build(seed=0), build(seed=1)
    pv.fit(pair, X, **RUN)
    save_weights(pair, tmp_path / "weights")
    assert not equal(pair, read)
    load_weights(read, tmp_path / "weights")

    assert equal(pair, read)
    assert not list(tmp_path.glob("*.part"))
    if build is vamp:
        assert read.prior.variational is read.variational


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("build", [make, vamp])
def test_weights_are_read_from_a_checkpoint(build, weighted, tmp_path):
    pair, read = build(seed=0), build(seed=1)
    objective = pv.KLWeight(pv.Objective(pair), 0.5) if weighted else None
    pv.fit(pair, X, **RUN, objective=objective, checkpoint=tmp_path / "run")
    load_weights(read, tmp_path / "run")
    assert equal(pair, read)


def test_weights_of_a_part_are_saved_alone(tmp_path):
    pair, read = make(seed=0), make(seed=1)
    decoder = weights(read.likelihood)
    save_weights(pair.variational, tmp_path / "encoder")
    load_weights(read.variational, tmp_path / "encoder")
    assert equal(pair.variational, read.variational) and equal(read.likelihood, decoder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "there is no file .*none"),
        ("other", "is of another pair"),
        ("junk", "not a whole safetensors file"),
    ],
)
def test_weights_that_cannot_be_loaded(name, words, tmp_path):
    save_weights(make(event=4), tmp_path / "other")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(ValueError, match=words):
        load_weights(make(), tmp_path / name)


# Bad input

GREY = torch.tensor([0.5] * 37 + [1.0] * 30 + [0.0] * 33).reshape(20, 5)


def with_value(value, at=(3, 1)):
    x = X.clone()
    x[at] = value
    return x


@pytest.mark.parametrize(
    ("likelihood", "x", "error", "words"),
    [
        (
            pv.Normal,
            X[:0],
            ValueError,
            r"x is empty: expected at least one row, got shape \[0, 3\]",
        ),
        (
            pv.Normal,
            with_value(float("nan")),
            ValueError,
            r"1 values that are NaN or infinite, in rows \[3\]",
        ),
        (
            pv.Normal,
            with_value(float("-inf")),
            ValueError,
            r"1 values that are NaN or infinite, in rows \[3\]",
        ),
        (
            pv.Normal,
            torch.ones(9, 3).long(),
            TypeError,
            r"made of integers \(torch.int64\), and the support of Normal",
        ),
        (pv.Normal, [[1.0, 2.0, 3.0]], TypeError, "expected a tensor .* got list"),
        (pv.Normal, np.array([["a"] * 3]), TypeError, "expected a tensor .* got ndarray"),
        (pv.Normal, X[:, :2], ValueError, r"event shape of the likelihood, \(3,\), got \[2\]"),
        (
            pv.Normal,
            X[:, :, None],
            ValueError,
            r"\(3,\), got \[3, 1\].* Reshape it: x.reshape\(-1, 3\)",
        ),
        (
            pv.Bernoulli,
            GREY[:, :3] + 1,
            ValueError,
            "not 0 or 1; they run from 1 to 2.*binarise it",
        ),
        (pv.Poisson, with_value(-2.0).round(), ValueError, "not a count; they run from -"),
        (pv.Poisson, X.abs(), ValueError, "support of Poisson: .* Round it to counts"),
        (pv.Gamma, X, ValueError, "support of Gamma: .* positive"),
        (pv.Beta, X, ValueError, r"support of Beta: .* not in \[0, 1\].* Scale it"),
        (
            pv.Beta,
            X.sigmoid().index_fill(0, torch.tensor(4), 0.0),
            ValueError,
            r"log p\(x \| z\) is .* at row 4 .*clamp\(1e-3",
        ),
    ],
)
@pytest.mark.parametrize("role", ["data", "validation"])
def test_bad_data(likelihood, x, error, words, role):
    pair = make(likelihood)
    good = {pv.Bernoulli: torch.ones, pv.Poisson: torch.ones}.get(
        likelihood, partial(torch.full, fill_value=0.5)
    )((9, 3))
    data, validation = (x, None) if role == "data" else (good, (x,))
    before = weights(pair)
    with pytest.raises(error, match=words):
        pv.fit(pair, data, validation=validation, **RUN)
    assert equal(pair, before)


def test_grey_values_for_bernoulli():
    words = r"37 % of its values are strictly between 0 and 1\. Binarise it \(transform=torch\.bernoulli\)"
    with pytest.raises(ValueError, match=words):
        pv.fit(make(pv.Bernoulli, event=5), GREY, **RUN)
    assert (
        len(pv.fit(make(pv.Bernoulli, event=5), GREY, transform=torch.bernoulli, **RUN).loss) == 4
    )


def test_classes_beyond_those_asked_for():
    with pytest.raises(ValueError, match=r"integer from 0 to 3.* ask for classes=6"):
        pv.fit(make(pv.Categorical, classes=4), torch.arange(60).reshape(20, 3) % 6, **RUN)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs: expected a positive whole number, got 0"),
        ({"epochs": -1}, "epochs: expected a positive whole number, got -1"),
        ({"epochs": 1.5}, "epochs: expected a positive whole number, got 1.5"),
        ({"batch_size": 0}, "batch_size: .* got 0"),
        ({"batch_size": -3}, "batch_size: .* got -3"),
        ({"learning_rate": 0}, "learning_rate: expected a positive number, got 0"),
        ({"learning_rate": -1e-3}, "learning_rate: .* got -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate: .* got nan"),
        ({"learning_rate": "fast"}, "learning_rate: .* got 'fast'"),
        ({"patience": 0, "validation": X}, "patience: .* got 0"),
        ({"patience": -2, "validation": X}, "patience: .* got -2"),
        ({"patience": 3}, "patience: early stopping compares .* pass validation="),
        ({"resume": True}, "resume: pass the checkpoint="),
        ({"objective": pv.Objective(make())}, "objective: it was made of another pair"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        pv.fit(make(), X, **(RUN | options))


def a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


def read_only(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    if os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write anywhere")
    return tmp_path / "closed"


@pytest.mark.parametrize("parent", [lambda tmp_path: tmp_path / "none", a_file, read_only])
def test_folder_that_cannot_be_written_to(parent, tmp_path):
    with pytest.raises(ValueError, match="cannot write to the folder"):
        pv.fit(make(), X, **RUN, checkpoint=parent(tmp_path) / "run.safetensors")


@pytest.mark.parametrize(
    ("pair", "data", "error", "words"),
    [
        (make(), (), ValueError, "expected data, got none"),
        (
            Conditional(),
            (X, X[:7, :2]),
            ValueError,
            r"data\[1\]: expected as many rows as x, 50, got 7",
        ),
        (
            make(),
            (DataLoader(TensorDataset(X[:0])),),
            ValueError,
            "data is empty: the loader gave no batch",
        ),
        (make(), (DataLoader(with_value(float("nan"), (0, 0))),), ValueError, "NaN or infinite"),
        (
            make(),
            (DataLoader(X), X),
            ValueError,
            "batches of a DataLoader hold all that the model takes",
        ),
        (
            nn.Linear(3, 3),
            (X,),
            TypeError,
            "pair: expected a module with methods model and guide, got Linear",
        ),
    ],
)
def test_bad_calls(pair, data, error, words):
    with pytest.raises(error, match=words):
        pv.fit(pair, *data, **RUN)


def test_nothing_to_train():
    pair = make()
    with pytest.raises(ValueError, match="no parameters to train"):
        pv.fit(pair.requires_grad_(False), X, **RUN)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(X)


def test_a_loader_that_does_not_know_its_length():
    h = pv.fit(make(pv.Normal), DataLoader(Stream(), batch_size=8), epochs=3, seed=0)
    assert len(h.loss) == 3 and np.isfinite(h).all()


def test_a_plateau_schedule_follows_the_elbo():
    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=0, threshold=1e6, factor=0.5
        )

    seen = []
    pv.fit(
        make(pv.Normal), X, epochs=4, seed=0, schedule=lambda o: seen.append(plateau(o)) or seen[0]
    )
    assert seen[0].get_last_lr()[0] < 1e-3


def test_errors_of_validation_data_say_so():
    with pytest.raises(ValueError, match="validation: x holds"):
        pv.fit(make(pv.Normal), X, epochs=1, validation=X * float("nan"))


def test_compiled_it_learns_the_same():
    """The last batch is smaller, the KL weight changes at every step, and the validation follows as ever."""
    found = []
    for compile in (False, True):
        pair = make()
        objective = pv.KLWeight(pv.Objective(pair), pv.linear(10))
        history = pv.fit(pair, X, validation=X[:10], objective=objective, compile=compile, **RUN)
        assert objective.objective._compiled_call_impl is None, "it is put back"
        found.append((weights(pair), history.loss, history.elbo))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert not equal(found[0][0], make())


def test_compiled_it_resumes(tmp_path):
    """Bit for bit, the compiled code being the same."""
    run = {**RUN, "compile": True}
    whole, halves = make(), make()
    pv.fit(whole, X, **run)
    pv.fit(halves, X, **{**run, "epochs": 2}, checkpoint=tmp_path / "run")
    again = make(seed=9)
    pv.fit(again, X, **run, checkpoint=tmp_path / "run", resume=True)
    assert equal(whole, again)


def test_bfloat16_is_for_the_networks_alone():
    seen = []

    class Spy(nn.Module):
        def __init__(self, given, out):
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, x):
            seen.append(self.linear(x).dtype)
            return self.linear(x)

    pair = pv.VAE(
        prior=pv.StandardNormal(2),
        likelihood=pv.Normal(3, given=2, net=small),
        variational=pv.Normal(2, given=3, net=Spy),
    )
    exact = make()
    history = pv.fit(exact, X, **RUN)
    rough = make()
    close = pv.fit(rough, X, precision="bf16", **RUN)
    assert close.loss == pytest.approx(history.loss, rel=0.05) and not equal(exact, rough)
    assert all(p.dtype is torch.float32 for p in rough.parameters())
    pv.fit(pair, X, precision="bf16", **{**RUN, "epochs": 1})
    assert torch.bfloat16 in seen
    with torch.autocast("cpu", torch.bfloat16):
        assert pair.variational(X).base_dist.loc.dtype is torch.float32


def test_what_cannot_be_compiled_is_refused():
    class Own(nn.Module):
        def __init__(self, pair):
            super().__init__()
            self.pair = pair

        def forward(self, x):
            return pv.Objective(self.pair)(x)

    pair = make()
    with pytest.raises(ValueError, match=r"compile: the objective holds no pv.Objective"):
        pv.fit(pair, X, objective=Own(pair), compile=True, **RUN)
    with pytest.raises(ValueError, match="precision: expected None or 'bf16', got 'fp8'"):
        pv.fit(pair, X, precision="fp8", **RUN)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_as_one_cuda_graph_learns_the_same():
    found = []
    for compile in (False, True):
        pair = make()
        history = pv.fit(pair, X, compile=compile, device="cuda", **RUN)
        found.append((weights(pair), history.loss))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_the_history_says_when_the_loss_is_no_bound():
    pair = make()
    steps = 4 * 5  # four epochs of five batches
    annealed = pv.fit(
        pair, X, objective=pv.KLWeight(pv.Objective(pair), pv.linear(steps // 2)), **RUN
    )
    assert annealed.bound == [0, 0, 1, 1]
    shaped = pv.fit(pair, X, objective=pv.Objective(pair, pv.Capacity(10.0, 1.0)), **RUN)
    assert shaped.bound == [0] * 4 and "(no bound)" in repr(shaped)
    assert pv.fit(pair, X, **RUN).bound == [1] * 4
