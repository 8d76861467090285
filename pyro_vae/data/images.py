"""A folder of images as one tensor."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data.dataset import Dataset
from pyro_vae.data.limits import check_fits, check_regular
from pyro_vae.data.splits import split

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
# the value of white in each mode of Pillow; other modes are converted to RGB
WHITE = {"1": 1, "L": 255, "LA": 255, "RGB": 255, "RGBA": 255}
WHITE |= {"I;16": 65535, "I;16B": 65535, "I": 65535}
WHITE |= {"F": 1}  # fractions stay as they are


def read_folder(folder: Path) -> Dataset:
    """Read the images of a folder and its subfolders. Several subfolders are labels.

    Raises:
        ValueError: if there is no image, one cannot be read, their shapes differ, or they do not
            fit into memory.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        known = ", ".join(SUFFIXES)
        raise ValueError(f"data: there is no image in the folder {folder}; known are {known}")

    x = _stack(files)
    y = _labels(files)

    return split(x, y, f"images of the folder {folder.name}")


def _stack(files: list[Path]) -> Tensor:
    first = _read(files[0])
    check_fits(files[0].parent, len(files) * first.nbytes)
    images = first.new_empty(len(files), *first.shape)
    for row, file in zip(images, files, strict=True):
        image = _read(file)
        if image.shape != first.shape:
            raise ValueError(
                f"data: {file} has shape {tuple(image.shape)}, "
                f"{files[0]} has {tuple(first.shape)}; "
                "all images must be of one size and number of channels"
            )
        row.copy_(image)
    return images


def _read(file: Path) -> Tensor:
    """One image, `[channels, height, width]`, in [0, 1], or the fractions that it holds."""
    from PIL import Image

    check_regular(file)
    try:
        with Image.open(file) as opened:
            image = opened if opened.mode in WHITE else opened.convert("RGB")
            values = np.array(image, dtype=np.float32)
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(f"data: cannot read the image {file} ({kind}: {error})") from error

    white = WHITE[image.mode]
    if image.mode == "I" and not 0 <= values.min() <= values.max() <= white:
        raise ValueError(
            f"data: {file} has whole numbers from {values.min():g} to {values.max():g}, expected "
            f"0 to {white}. What is white among them is not known: save it with 8 or 16 bits, or "
            "as fractions."
        )
    pixels = torch.from_numpy(values) / white
    return pixels[None] if pixels.dim() == 2 else pixels.movedim(-1, 0)


def _labels(files: list[Path]) -> Tensor | None:
    """The number of each file's folder, or None where all lie in one."""
    folders = sorted({file.parent for file in files})
    if len(folders) == 1:
        return None
    return torch.tensor([folders.index(file.parent) for file in files])
