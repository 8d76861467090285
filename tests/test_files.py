"""Files that are whole or not there, and locks."""

import os
import signal
import threading
import time

import pytest

from pyro_vae.files import locked, remove_halves, replacing


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("old")
    with replacing(path) as half:
        half.write_text("new")
        (half.parent / "of the writer's own").touch()
        assert half.suffix == ".txt" and path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["numbers.txt"]


def test_a_file_is_as_open_as_any_other(tmp_path):
    (tmp_path / "other").touch()
    with replacing(tmp_path / "mine") as half:
        half.touch(mode=0o600)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_what_was_there_stays_when_writing_fails(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as half:
            half.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["numbers.txt"]


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "numbers.txt"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"


def test_halves_of_a_file_are_removed_and_no_others(tmp_path):
    names = ["a", "b", "a.part", ".00000000.part.aa", "part.a"]
    for name in names:
        (tmp_path / name).touch()
    for name in (".0123abcd.part.a", ".89abcdef.part.a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").touch()
    remove_halves(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_a_lock_is_held_once(tmp_path):
    refused = []

    def try_it():
        try:
            with locked(tmp_path / "run", "another one has it"):
                pass
        except ValueError as error:
            refused.append(str(error))

    with locked(tmp_path / "run", ""):
        try_it()
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        with locked(tmp_path / "other", ""):
            assert sorted(os.listdir(tmp_path)) == ["other.lock", "run.lock"]
    assert refused == ["another one has it"] * 2 and not os.listdir(tmp_path)
    try_it()
    assert len(refused) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_the_lock_of_a_killed_process_is_free(tmp_path):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with locked(tmp_path / "run", ""):
            os.write(write, b".")
            time.sleep(60)
        os._exit(0)
    os.read(read, 1)
    with pytest.raises(ValueError, match="held"), locked(tmp_path / "run", "held"):
        pass

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with locked(tmp_path / "run", "held"):
        pass
    assert not os.listdir(tmp_path)
