"""Two threads cannot train at once, and a forked process does not wait for threads it lacks."""

import os
import subprocess
import sys
import threading

import pytest

import pyro_vae as pv
from pyro_vae.training import turns
from tests.runs import RUN, X, make


def test_a_second_thread_is_refused_and_the_first_goes_on():
    said = []

    def train():
        try:
            pv.fit(make(), X, **RUN)
        except RuntimeError as error:
            said.append(str(error))

    def callback(history):
        if len(history.loss) == 1:
            other = threading.Thread(target=train)
            other.start()
            other.join()

    history = pv.fit(make(), X, callback=callback, **RUN)
    assert len(history.loss) == RUN["epochs"]
    assert len(said) == 1 and "another thread of this process is in fit" in said[0]
    train()
    assert len(said) == 1


def test_a_callback_may_train_another_pair():
    inner = []
    options = RUN | {"epochs": 1}
    pv.fit(make(), X, callback=lambda _: inner.append(pv.fit(make(), X, **options)), **options)
    assert len(inner) == 1


FORKED = """
import os, sys, warnings, torch
torch.set_num_threads(2)
import pyro_vae as pv
from tests.runs import make

x = torch.randn(500, 400)
pv.fit(make(event=400), x, epochs=1, progress=False)
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    pv.fit(make(event=400), x, epochs=1, progress=False)
assert any("trains with one thread and not with 2" in str(w.message) for w in caught)
assert torch.get_num_threads() == 2
os._exit(7)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_trains():
    found = subprocess.run([sys.executable, "-c", FORKED], timeout=60, cwd=os.getcwd())
    assert found.returncode == 7


def test_a_lock_that_was_forked_is_another(monkeypatch):
    held = threading.Event()
    done = threading.Event()

    def hold():
        with turns.take_turn():
            held.set()
            done.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    with pytest.raises(RuntimeError, match="another thread"), turns.take_turn():
        pass
    monkeypatch.setattr(turns.os, "getpid", lambda: -1)
    monkeypatch.setattr(turns, "_imported_in", -1)
    with turns.take_turn():
        done.set()
    other.join()
