"""A folder of images as one tensor."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data.dataset import Dataset
from pyro_vae.data.splits import split

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
# the value of white in each mode of Pillow; other modes are converted to RGB
WHITE = {"1": 1, "L": 255, "LA": 255, "RGB": 255, "RGBA": 255, "I;16": 65535, "I": 65535}


def read_folder(folder: Path) -> Dataset:
    """Read the images of a folder and its subfolders. Several subfolders are labels.

    Raises:
        ValueError: if there is no image, one cannot be read, or their shapes differ.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        known = ", ".join(SUFFIXES)
        raise ValueError(f"data: there is no image in the folder {folder}; known are {known}")

    x = _stack(files)
    y = _labels(files)

    return split(x, y, f"images of the folder {folder.name}")


def _stack(files: list[Path]) -> Tensor:
    images: list[Tensor] = []
    for file in files:
        image = _read(file)
        images.append(image)
        if image.shape != images[0].shape:
            raise ValueError(
                f"data: {file} has shape {tuple(image.shape)}, "
                f"{files[0]} has {tuple(images[0].shape)}; "
                "all images must be of one size and number of channels"
            )
    return torch.stack(images)


def _read(file: Path) -> Tensor:
    """One image, `[channels, height, width]`, in [0, 1]."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            image = opened if opened.mode in WHITE else opened.convert("RGB")
            values = np.array(image, dtype=np.float32)
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(f"data: cannot read the image {file} ({kind}: {error})") from error

    pixels = torch.from_numpy(values) / WHITE[image.mode]
    return pixels[None] if pixels.dim() == 2 else pixels.movedim(-1, 0)


def _labels(files: list[Path]) -> Tensor | None:
    """The number of each file's folder, or None where all lie in one."""
    folders = sorted({file.parent for file in files})
    if len(folders) == 1:
        return None
    return torch.tensor([folders.index(file.parent) for file in files])
