"""The checkpoint, from which a run goes on exactly, and the callback."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

import pyro_vae as pv
from pyro_vae.training.checkpoints import read_tree
from tests.runs import RUN, Interrupting, X, equal, make, noisy, ruin, stop_after


def test_callback_stops_the_run_by_true_alone():
    seen = []
    h = pv.fit(
        make(), X, **RUN, callback=lambda history: seen.append(len(history.loss)) or len(seen) == 2
    )
    assert seen == [1, 2] and len(h.loss) == 2

    assert len(pv.fit(make(), X, **RUN, callback=lambda history: history).loss) == 4


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
    options = RUN | {"validation": X[:20], "transform": Interrupting()} | SETTINGS[setting]
    whole, parted = make(), make()
    torch.manual_seed(7)
    expected = pv.fit(whole, data(), **options)

    torch.manual_seed(7)
    every = 0 if "exception" in interruption else 1e9
    cut = {
        key: Interrupting(v.at, v.how) if key == "transform" else v
        for key, v in INTERRUPTIONS[interruption].items()
    }
    if "Ctrl-C" in interruption:
        stops = pytest.raises(KeyboardInterrupt, match="resume=True")
    elif "exception" in interruption:
        stops = pytest.raises(KeyboardInterrupt)
    else:
        stops = nullcontext()
    with stops:
        pv.fit(parted, data(), checkpoint=path, checkpoint_every=every, **(options | cut))
    assert setting == "patience" or not equal(whole, parted)

    torch.manual_seed(8)
    resumed = make(seed=1)
    history = pv.fit(resumed, data(), checkpoint=path, resume=True, **options)
    assert equal(whole, resumed)
    assert history[:4] == expected[:4]


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
"""Trains in a process for each case, killed at the moment that the case names, or resumes it."""
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
    """A folder of runs that were killed and resumed, with the exit codes of both processes."""
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
    path = tmp_path / "run"
    pv.fit(whole, X, transform=noisy, **options)
    with pytest.raises(KeyboardInterrupt):
        pv.fit(parted, X, transform=Interrupting(at, "signal"), checkpoint=path, **options)
    pv.fit(resumed, X, transform=Interrupting(), checkpoint=path, resume=True, **options)
    assert equal(whole, resumed)


@pytest.mark.parametrize("fails", [True, False])
def test_the_checkpoint_is_written_after_the_callback_also_where_that_fails(fails, tmp_path):
    path, epochs = tmp_path / "run", []

    def callback(history):
        epochs.append(len(read_tree(path)["record"]["loss"]))
        if fails and len(history.loss) == 2:
            raise RuntimeError("from the callback")
        return len(history.loss) == 2

    with pytest.raises(RuntimeError, match="from the callback") if fails else nullcontext():
        pv.fit(make(), X, checkpoint=path, checkpoint_every=0, callback=callback, **RUN)
    record = read_tree(path)["record"]
    assert epochs == [0, 1] and len(record["loss"]) == 2 and record["is_stopped"] is not fails


def test_a_run_that_its_callback_stopped_stays_stopped_until_it_has_none(tmp_path):
    options = RUN | {"checkpoint": tmp_path / "run", "resume": True}
    stop = stop_after(2, "return")
    lengths = [len(pv.fit(make(), X, callback=c, **options).loss) for c in (stop, stop, None)]
    assert lengths == [2, 2, 4]


def test_two_runs_cannot_write_one_checkpoint(tmp_path):
    path, refused = tmp_path / "run", []

    def start_another(history):
        assert sorted(os.listdir(tmp_path)) == ["run", "run.lock"]
        with pytest.raises(ValueError, match=f"^checkpoint: another run writes {path} now; wait"):
            pv.fit(make(), X, **RUN, checkpoint=path, resume=True)
        refused.append(True)

    pv.fit(make(), X, **RUN, checkpoint=path, checkpoint_every=0, callback=start_another)
    assert len(refused) == 4 and os.listdir(tmp_path) == ["run"]


def test_a_run_goes_on_from_where_the_disk_was_full(tmp_path, monkeypatch):
    path, whole, parted, resumed = tmp_path / "run", make(), make(), make(seed=1)
    pv.fit(whole, X, **RUN)
    left = [7]

    def fill_up(*args, **options):
        left[0] -= 1
        if left[0] < 0:
            raise SafetensorError("No space left on device (os error 28)")
        save_file(*args, **options)

    monkeypatch.setattr("pyro_vae.training.checkpoints.save_file", fill_up)
    said = r"^checkpoint: cannot write .*No space left.* still whole.* before epoch 2, step 3"
    with pytest.raises(OSError, match=said):
        pv.fit(parted, X, **RUN, checkpoint=path, checkpoint_every=0)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["run"] and not equal(parted, make())

    pv.fit(resumed, X, **RUN, checkpoint=path, resume=True)
    assert equal(whole, resumed)


class FakeBar:
    def __init__(self, total, description, show):
        self.total, self.lines, self.done, self.is_open = total, [description], 0, True

    def update(self, steps=1):
        self.done += steps

    def set_description(self, text):
        self.lines.append(text)

    def set_postfix_str(self, text):
        self.lines.append(text)

    def close(self):
        self.is_open = False


def test_the_bar_goes_on_where_the_run_does(tmp_path, monkeypatch):
    path, bars = tmp_path / "run", []

    def progress_bar(total, description, *, show):
        bars.append(FakeBar(total, description, show))
        return bars[-1]

    monkeypatch.setattr("pyro_vae.training.observers.progress_bar", progress_bar)
    pv.fit(make(), X, checkpoint=path, **(RUN | {"epochs": 1}))
    h = pv.fit(make(), X, checkpoint=path, resume=True, **(RUN | {"epochs": 2}))

    assert [(bar.total, bar.done, bar.is_open) for bar in bars] == [(5, 5, False), (10, 10, False)]
    last = f"loss {h.loss[-1]:.2f}, elbo {h.elbo[-1]:.2f}"
    assert bars[1].lines == ["epoch 1", "epoch 3", last]


def test_whether_the_loss_is_a_bound_is_resumed(tmp_path):
    """The weight reaches 1 within the first epoch, after the run was stopped."""
    histories, path = [], tmp_path / "run"
    for options in (
        {"transform": noisy},
        {"transform": Interrupting(4, "signal"), "checkpoint": path},
        {"transform": Interrupting(), "checkpoint": path, "resume": True},
    ):
        pair = make()
        objective = pv.KLWeight(pv.Objective(pair), lambda step: float(step > 1))
        try:
            histories.append(pv.fit(pair, X, objective=objective, **options, **RUN))
        except KeyboardInterrupt:
            assert "resume" not in options
    assert [h.bound for h in histories] == [[0, 1, 1, 1]] * 2
