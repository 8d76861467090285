"""Ctrl-C."""

import os
import signal
import threading

import pytest

import pyro_vae as pv
from pyro_vae.training.interrupts import Interrupts
from tests.runs import RUN, Interrupting, X, make, ruined_in_step, stop_after


def test_ctrl_c_while_the_last_epoch_is_measured_is_not_lost(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt, match="resume=True"):
        pv.fit(make(), X, **RUN, checkpoint=path, callback=stop_after(RUN["epochs"], "signal"))
    assert len(pv.fit(make(), X, **RUN, checkpoint=path, resume=True).loss) == RUN["epochs"]


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


class Notes:
    """Keeps nothing, and remembers that it was told."""

    def __init__(self):
        self.told = 0

    def on_interruption(self, state):
        self.told += 1
        return "this is how to go on"


class Place:
    """All that an observer of interruptions reads of a state."""

    def describe_place(self):
        return "epoch 3, step 1"


def test_ctrl_c_is_a_flag_until_the_step_is_done():
    before, keeper = signal.getsignal(signal.SIGINT), Notes()
    with Interrupts(keeper) as interrupts:
        interrupts.after_step(Place())
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match=r"^stopped in epoch 3, step 1; this is how"):
            interrupts.after_step(Place())

    assert keeper.told == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once():
    keeper = Notes()
    with Interrupts(keeper):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert keeper.told == 0


def test_outside_the_main_thread_nothing_is_listened_to():
    histories = []
    thread = threading.Thread(target=lambda: histories.append(pv.fit(make(), X, **RUN)))
    thread.start()
    thread.join()
    assert len(histories[0].loss) == RUN["epochs"]


def test_without_a_checkpoint_ctrl_c_says_so():
    words = "stopped in epoch 1, step 2; no checkpoint= was given, so only the pair in memory"
    with pytest.raises(KeyboardInterrupt, match=words):
        pv.fit(make(), X, transform=Interrupting(3, "signal"), **RUN)
