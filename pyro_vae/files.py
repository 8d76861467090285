"""Files that are whole or not there, and that one run at a time writes."""

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new file to be written, which takes the place of a path once it is whole.

    The new file lies beside it, in a folder of a name that nobody else has: who writes it may need
    files of his own, as safetensors does. If writing fails, the folder is removed, and what was
    under the path stays as it was.

    Arguments:
        path: The file that is to be there, whole.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with replacing(path) as half:
        ...     _ = half.write_text("1 2 3")
        >>> path.read_text()
        '1 2 3'
    """
    folder = path.with_name(f".{secrets.token_hex(4)}.part.{path.name}")
    half = folder / path.name
    folder.mkdir()
    try:
        yield half
        _let_read(half, folder)
        _flush(half)
        os.replace(half, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _let_read(path: Path, folder: Path) -> None:
    """Let those read a file who may read a new folder. safetensors lets only the owner."""
    with suppress(OSError):
        path.chmod(folder.stat().st_mode & 0o666)


def _flush(path: Path) -> None:
    """Wait until a file is on the disk, so that a loss of power cannot leave an empty one."""
    # Windows flushes only what was opened for writing
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def remove_halves(path: Path) -> None:
    """Remove what killed processes left when they wrote a file. Call it under the file's lock."""
    name = glob.escape(path.name)
    for folder in path.parent.glob(f".????????.part.{name}"):
        shutil.rmtree(folder, ignore_errors=True)


def name_lock(path: Path) -> Path:
    """The file that is the lock of a path, and is there while somebody holds it."""
    return path.with_name(path.name + ".lock")


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Inside this context nobody else holds the lock of a path.

    The lock is a file beside it. It is free again when the process that holds it ends, however it
    ends, and the file is removed when the context ends.

    Arguments:
        path: What is to be locked. It need not exist, but its folder must.
        refusal: The error's message.

    Raises:
        ValueError: if another run holds the lock, in this process or another.
        OSError: if there can be no lock.
    """
    file = name_lock(path)
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(refusal) from None
    except OSError as error:
        raise OSError(f"cannot lock {path} ({error}); get permission, or choose another") from error
    try:
        yield
    finally:
        # first removed, then released: who has it open finds that it has no name any more
        with suppress(OSError):
            file.unlink()
        lock.release()
