"""What `fit` was asked for."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_positive, check_whole
from pyro_vae.training.history import History


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """The keyword arguments of `fit`, which explains them, once they are known to be good.

    Raises:
        TypeError, ValueError: if an argument does not fit. It says which and why.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Callable[..., torch.optim.Optimizer] | None
    schedule: Callable[[torch.optim.Optimizer], Any] | None
    objective: nn.Module | None
    validation: Tensor | np.ndarray | Sequence | None
    patience: int | None
    transform: Callable[[Tensor], Tensor] | None
    device: torch.device | str | None
    compile: bool
    precision: str | None
    checkpoint: str | os.PathLike | None
    checkpoint_every: float
    resume: bool
    seed: int | None
    progress: bool
    callback: Callable[[History], object] | None

    def __post_init__(self) -> None:
        check_whole("epochs", self.epochs)
        check_whole("batch_size", self.batch_size)
        check_positive("learning_rate", self.learning_rate)
        if self.precision not in (None, "bf16"):
            raise ValueError(f"precision: expected None or 'bf16', got {self.precision!r}")
        if self.patience is not None:
            self._check_patience(self.patience)
        if self.path is not None:
            self._check_path(self.path)
        elif self.resume:
            raise ValueError("resume: pass the checkpoint= to resume from")

    @property
    def path(self) -> Path | None:
        """The file of the checkpoint, or None."""
        if self.checkpoint is None:
            return None
        return Path(self.checkpoint)

    def _check_patience(self, patience: int) -> None:
        check_whole("patience", patience)
        if self.validation is None:
            raise ValueError(
                "patience: early stopping compares the ELBO of validation data; pass validation="
            )

    def _check_path(self, path: Path) -> None:
        if path.exists() and not self.resume:
            raise ValueError(
                f"checkpoint: {path} already holds a run; go on with resume=True, or choose "
                "another path"
            )
        folder = path.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(
                f"checkpoint: cannot write to the folder {folder}; does it exist, with permission?"
            )
