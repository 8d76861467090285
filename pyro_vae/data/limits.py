"""What is not opened: pipes and devices, which never end, and what is too large for memory."""

import os
import re
import zipfile
from pathlib import Path


def check_regular(path: Path) -> None:
    """Raise a ValueError if a path is no regular file: a pipe or a device may never end."""
    if path.is_file() or not path.exists():
        return
    raise ValueError(
        f"data: {path} is a pipe, a device or a socket, which may never end. Write what it gives "
        f"into a file, cat {path} > x{path.suffix}, and read that one."
    )


def check_archive(path: Path) -> None:
    """Raise a ValueError if an archive would unpack to more than the memory that there is.

    Its directory is read, nothing is unpacked. Who reads a member gets no more bytes than the
    directory says.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    check_fits(path, size)


def check_fits(path: Path, size: int) -> None:
    """Raise a ValueError if so many bytes are more than the memory that there is."""
    available = find_available()
    if available is None or size <= available:
        return
    raise ValueError(
        f"data: {path} takes {size / 1e9:.3g} GB in memory, and {available / 1e9:.3g} GB are "
        "available. Take fewer rows, or train from the file: a .npy opened with "
        "np.load(path, mmap_mode='r'), or a DataLoader."
    )


def find_available() -> int | None:
    """The bytes of memory that can still be had, or None where the system does not say."""
    found = [_read_system(), _read_container()]
    return min((size for size in found if size is not None), default=None)


def _read_system() -> int | None:
    """What can be had without swapping, on Linux, or else all memory."""
    try:
        line = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        line = None
    if line is not None:
        return int(line[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # there is no sysconf on Windows
        return None


def _read_container() -> int | None:
    """The most that a container of Linux may take, or None if it has no limit."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # "max" is no limit
        return None
