"""Ctrl-C, and the other signals that ask a process to end."""

import os
import signal
import threading

import pytest

import pyro_vae as pv
from pyro_vae.training.interrupts import SIGNALS, Interrupts, Stopped
from tests.runs import RUN, Interrupting, X, equal, make, noisy, ruined_in_step, stop_after


def test_ctrl_c_while_the_last_epoch_is_measured_is_not_lost(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt, match="resume=True"):
        pv.fit(make(), X, **RUN, checkpoint=path, callback=stop_after(RUN["epochs"], "signal"))
    assert len(pv.fit(make(), X, **RUN, checkpoint=path, resume=True).loss) == RUN["epochs"]


@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_ctrl_c_does_not_overwrite_the_last_good_checkpoint(tmp_path):
    path, pair = tmp_path / "run.safetensors", make()
    options = {"transform": Interrupting(), "objective": ruined_in_step(pair, -1)}
    pv.fit(pair, X, **(RUN | {"epochs": 1}), checkpoint=path, **options)
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


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_flag_until_the_step_is_done(number):
    before, keeper = [signal.getsignal(n) for n in SIGNALS], Notes()
    by = "" if number == signal.SIGINT else f" by {number.name}"
    with Interrupts(keeper) as interrupts:
        interrupts.after_step(Place())
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt, match=f"^stopped{by} in epoch 3, step 1; this is"):
            interrupts.after_step(Place())

    assert keeper.told == 1
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_a_second_ctrl_c_stops_at_once():
    keeper = Notes()
    with Interrupts(keeper):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert keeper.told == 0


def test_a_terminal_that_says_twice_that_it_closes_loses_nothing():
    keeper = Notes()
    with Interrupts(keeper) as interrupts:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(Stopped) as caught:
            interrupts.after_epoch(Place())
    assert keeper.told == 1 and caught.value.number == signal.SIGHUP


def test_a_signal_in_the_last_moment_is_not_swallowed():
    with Interrupts(Notes()) as interrupts:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            interrupts.at_end(Place())


@pytest.fixture
def install():
    """Install a handler of a signal for the time of a test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield signal.signal
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_ignored_signal_stays_ignored(number, install):
    install(number, signal.SIG_IGN)
    pv.fit(make(), X, **RUN, callback=lambda history: os.kill(os.getpid(), number))
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", SIGNALS)
def test_a_handler_of_the_user_is_called_once_the_state_is_kept_and_decides(number, install):
    kept, keeper = [], Notes()
    install(number, lambda n, frame: kept.append((n, keeper.told)))
    with Interrupts(keeper) as interrupts:
        for _ in range(2):
            signal.raise_signal(number)
            assert len(kept) == interrupts.keeper.told
            interrupts.after_step(Place())
            interrupts.after_step(Place())
    assert kept == [(number, 1), (number, 2)]


def test_a_handler_that_the_user_installs_during_a_run_stays(install):
    def handler(number, frame):
        """Nothing."""

    with Interrupts(Notes()):
        install(signal.SIGTERM, handler)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_run_goes_on_exactly_after_sigterm(tmp_path):
    def leave(history):
        if len(history.loss) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    whole, parted = make(), make()
    options = RUN | {"transform": noisy, "checkpoint": tmp_path / "run"}
    pv.fit(whole, X, transform=noisy, **RUN)
    with pytest.raises(KeyboardInterrupt, match=r"by SIGTERM.*checkpoint=.*resume=True"):
        pv.fit(parted, X, callback=leave, **options)
    pv.fit(parted, X, resume=True, **options)
    assert equal(whole, parted)


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
