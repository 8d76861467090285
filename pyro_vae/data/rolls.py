"""Music as piano rolls: which keys sound at each step."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pyro_vae.data.dataset import Dataset

KEYS = (21, 88)  # of a piano: the MIDI number of the lowest, and how many


def read_rolls(path: Path) -> Dataset:
    """Pieces of music as piano rolls, with the splits of their file.

    Raises:
        ValueError: if the file is missing, with what to put where, or cannot be read.
    """
    if not path.exists():
        raise ValueError(
            f"data: there is no {path}. "
            "Put there the JSB chorales in quarter notes (Boulanger-Lewandowski et al., 2012), a "
            "JSON file of lists train, valid and test: of chorales, of steps, of MIDI numbers, or "
            "set PYRO_VAE_DATA to a folder that has it. "
            "The data set digits needs nothing."
        )
    try:
        chorales = json.loads(path.read_text())
        train, validation, test = (_unroll(chorales[name]) for name in ("train", "valid", "test"))
    except Exception as error:
        raise ValueError(
            f"data: cannot read {path} ({type(error).__name__}: {error}); "
            "it is truncated or another file"
        ) from error

    return Dataset(
        train=train[0],
        validation=validation[0],
        test=test[0],
        labels=None,
        description="JSB chorales, quarter notes, 88 keys, the file's own split",
        lengths=(train[1], validation[1], test[1]),
    )


def _unroll(chorales: Sequence[Sequence[Sequence[int]]]) -> tuple[Tensor, Tensor]:
    """Lists of sounding keys as piano rolls `[n, T, 88]`, and the lengths `[n]`."""
    lowest, keys = KEYS
    lengths = torch.tensor([len(chorale) for chorale in chorales])
    x = torch.zeros(len(chorales), int(lengths.max()), keys)
    for i, chorale in enumerate(chorales):
        for t, sounding in enumerate(chorale):
            # an index refuses keys below the lowest here, and above the highest
            x[i, t].scatter_(0, torch.tensor(sounding, dtype=torch.long) - lowest, 1.0)
    return x, lengths
