"""What `fit` was asked for."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_vae.arguments import (
    check_choice,
    check_flag,
    check_function,
    check_positive,
    check_seed,
    check_type,
    check_whole,
    check_within,
    say,
)
from pyro_vae.training.history import History

PATHS = (str, os.PathLike)
DATA = (Tensor, np.ndarray)


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """The keyword arguments of `fit`, which explains them, once they are known to be good.

    Raises:
        TypeError, ValueError: if an argument does not fit. It says which and why.
    """

    epochs: int
    batch_size: int
    drop_last: bool
    learning_rate: float
    optimizer: Callable[..., torch.optim.Optimizer] | None
    schedule: Callable[[torch.optim.Optimizer], Any] | None
    objective: nn.Module | ELBO | None
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
        self._keep("epochs", check_whole)
        self._keep("batch_size", check_whole)
        self._keep("learning_rate", check_positive)
        self._keep("checkpoint_every", check_within, 0.0)
        for name in ("drop_last", "compile", "resume", "progress"):
            self._keep(name, check_flag)
        if self.seed is not None:
            self._keep("seed", check_seed)
        check_choice("precision", self.precision, (None, "bf16"))
        self._check_functions()
        if self.validation is not None:
            _check_validation(self.validation)
        if self.device is not None:
            check_device(self.device)
        if self.patience is not None:
            self._check_patience(self.patience)
        if self.path is not None:
            self._check_path(self.path)
            self.check_free()
        elif self.resume:
            raise ValueError("resume: pass the checkpoint= to resume from")
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            raise ValueError(
                "gradients are switched off here; call fit outside of torch.no_grad() and "
                "torch.inference_mode()"
            )

    def _keep(self, name: str, check: Callable, *limits: float) -> None:
        """Check a value, and keep it as Python's own type: a checkpoint holds no other."""
        object.__setattr__(self, name, check(name, getattr(self, name), *limits))

    def _check_functions(self) -> None:
        functions = {"transform": "a function of x", "callback": "a function of the history"}
        for name, expected in functions.items():
            if getattr(self, name) is not None:
                check_function(name, getattr(self, name), expected)

    @property
    def path(self) -> Path | None:
        """The file of the checkpoint, or None."""
        if self.checkpoint is None:
            return None
        check_type("checkpoint", self.checkpoint, PATHS, "the path of a file")
        return Path(self.checkpoint)

    def _check_patience(self, patience: int) -> None:
        check_whole("patience", patience)
        if self.validation is None:
            raise ValueError(
                "patience: early stopping compares the ELBO of validation data; pass validation="
            )

    def check_free(self) -> None:
        """Check that no run is overwritten."""
        if self.path is not None and self.path.exists() and not self.resume:
            raise ValueError(
                f"checkpoint: {self.path} already holds a run; go on with resume=True, or choose "
                "another path"
            )

    def _check_path(self, path: Path) -> None:
        if path.is_dir():
            raise ValueError(f"checkpoint: expected the path of a file, {path} is a folder")
        folder = path.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(
                f"checkpoint: cannot write to the folder {folder}; does it exist, with permission?"
            )


def _check_validation(validation: object) -> None:
    is_sequence = isinstance(validation, Sequence) and not isinstance(validation, str)
    if isinstance(validation, DATA) or is_sequence:
        return
    raise TypeError(
        "validation: expected x, or a sequence that begins with x, got "
        f"{say(validation)}; hold rows out yourself, fit(pair, x[1000:], validation=x[:1000])"
    )


def check_device(device: torch.device | str | int) -> None:
    """Check that torch can compute on a device.

    Raises:
        TypeError: if it names no device.
        ValueError: if torch does not know it, or it is not there.

    Example:
        >>> check_device("cpu")
    """
    if isinstance(device, bool) or not isinstance(device, torch.device | str | int):
        raise TypeError(f"device: expected the name of a device, such as 'cpu', got {say(device)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        known = ", ".join(_list_devices())
        raise ValueError(f"device: cannot use {device!r}, there is {known}: {reason}") from error


def _list_devices() -> list[str]:
    graphics = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *graphics, *(["mps"] if torch.backends.mps.is_available() else [])]
