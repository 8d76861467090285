"""What is not opened: what may never end, and what is larger than memory."""

import os
import struct
import zipfile

import numpy as np
import pytest
import torch

from pyro_vae.data import limits, load
from tests.datasets import images

MEMORY = 2**20


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(limits, "find_available", lambda: MEMORY)


def link(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".pt"])
@pytest.mark.parametrize("make", [os.mkfifo, link])
def test_what_may_never_end_is_not_opened(make, suffix, tmp_path):
    make(tmp_path / f"in{suffix}")
    with pytest.raises(ValueError, match=rf"in{suffix} is a pipe, a device .*> x{suffix}"):
        load(tmp_path / f"in{suffix}")


def test_a_pipe_among_images_is_not_opened(tmp_path):
    images(tmp_path / "flat", [1, 2, 3])
    os.mkfifo(tmp_path / "flat" / "4.png")
    with pytest.raises(ValueError, match=r"4\.png is a pipe"):
        load(tmp_path / "flat")


def write_zeros(path):
    """2 MB that an archive packs into some 2 kB."""
    np.savez_compressed(path, x=np.zeros((2 * MEMORY, 1), np.uint8))


def write_view(path):
    """Half a million numbers over the memory of one."""
    torch.save(torch.zeros(1).expand(MEMORY // 2, 1), path)


def write_bytes(path):
    np.save(path, np.zeros((MEMORY // 2, 1), np.uint8))


LARGE = {
    "x.npz": (write_zeros, "takes 0.0021 GB in memory, and 0.00105 GB are available"),
    "x.pt": (write_view, "takes 0.0021 GB"),
    "x.npy": (write_bytes, "takes 0.0021 GB .*mmap_mode='r'"),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_larger_than_memory_is_refused(name, small_memory, tmp_path):
    write, words = LARGE[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / name)


def test_a_folder_of_images_is_refused_after_the_first(small_memory, tmp_path):
    images(tmp_path / "flat", [1, 2, 3], size=(350, 350))
    with pytest.raises(ValueError, match=r"flat takes 0\.00147 GB"):
        load(tmp_path / "flat")


def test_a_directory_that_understates_a_size_defeats_nothing(small_memory, tmp_path):
    path = tmp_path / "x.npz"
    write_zeros(path)
    with zipfile.ZipFile(path) as archive:
        size = archive.infolist()[0].file_size
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    place = content.index(struct.pack("<I", size), directory)
    path.write_bytes(content[:place] + struct.pack("<I", 1000) + content[place + 4 :])
    with pytest.raises(ValueError, match="cannot read"):
        load(path)


def test_an_array_that_overstates_its_size_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w") as member:
        header = {"descr": "<f4", "fortran_order": False, "shape": (8 * 10**9, 1)}
        np.lib.format.write_array_header_1_0(member, header)
        member.write(bytes(1000))
    with pytest.raises(ValueError, match="cannot read"):
        load(path)


def test_available_memory():
    assert limits.find_available() > 2**20
