"""A folder of images, and what is refused, with what the message says."""

import numpy as np
import pytest
import torch

from pyro_vae.data import load
from tests.datasets import everything, images, in_order, written


def test_folder_of_images_labelled_by_subfolder(tmp_path):
    images(tmp_path / "cats", range(10))
    images(tmp_path / "dogs", range(200, 210))
    (tmp_path / "notes.txt").write_text("not an image")
    d = load(tmp_path)

    assert d.train.shape == (16, 1, 4, 3)
    assert torch.equal(
        in_order(d)[:, 0, 0, 0] * 255, torch.tensor([*range(10), *range(200, 210)]).float()
    )
    assert all(
        torch.equal(x[:, 0, 0, 0] > 0.5, y == 1) for x, y in zip(d[:3], d.labels, strict=True)
    )


@pytest.mark.parametrize(
    ("suffix", "dtype", "size", "channels"),
    [
        ("png", np.uint8, (4, 3), 1),
        ("png", np.uint16, (4, 3), 1),
        ("png", np.uint8, (4, 3, 3), 3),
        ("jpg", np.uint8, (4, 3), 1),
        ("webp", np.uint8, (4, 3, 3), 3),
        ("bmp", np.uint8, (4, 3), 1),
        ("tif", np.uint16, (4, 3), 1),
        ("gif", np.uint8, (4, 3, 3), 3),
    ],
)
def test_images_are_scaled_by_their_own_white(suffix, dtype, size, channels, tmp_path):
    white = np.iinfo(dtype).max
    images(tmp_path / "flat", [0, white, white], dtype, suffix, size)
    d = load(tmp_path / "flat")

    assert d.train.shape == (1, channels, 4, 3) and d.labels is None
    assert sorted(everything(d).flatten(1).mean(1).tolist()) == pytest.approx([0, 1, 1], abs=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_fractions_stay_as_they_are_and_large_integers_are_refused(dtype, tmp_path):
    values = np.array([-3.5, 0.25, 70_000]).astype(dtype)
    images(tmp_path / "flat", values, dtype, "tif")
    if dtype == np.float32:
        assert sorted(everything(load(tmp_path / "flat"))[:, 0, 0, 0].tolist()) == values.tolist()
        return
    with pytest.raises(ValueError, match=r"whole numbers from -3 to -3, expected 0 to 65535"):
        load(tmp_path / "flat")


def folder(*calls):
    def make(path):
        for values, options in calls:
            images(path / f"{len(list(path.iterdir()))}", values, **options)
        return path

    return make


def broken_image(path):
    images(path, [1, 2, 3], size=(50, 50))
    (path / "1.png").write_bytes((path / "1.png").read_bytes()[:60])
    return path


REFUSED = {
    "empty folder": (lambda path: path, "there is no image in the folder"),
    "sizes differ": (
        folder(([1, 2], {}), ([3], {"size": (4, 4)})),
        r"has shape \(1, 4, 4\), .* all images must be",
    ),
    "channels differ": (
        folder(([1, 2], {}), ([3], {"size": (4, 3, 3)})),
        r"one size and number of channels",
    ),
    "broken image": (
        lambda path: written("x.png", b"no image")(path).parent,
        "cannot read the image",
    ),
    "truncated image": (broken_image, "cannot read the image"),
    "two images": (folder(([1, 2], {})), "has 2 rows; at least 3 are needed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    make, words = REFUSED[case]
    name = make(tmp_path)
    with pytest.raises(ValueError, match=words):
        load(name)
