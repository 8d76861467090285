"""The folder of a run: what is written there and read again."""

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from torch import nn

import pyro_vae as pv
from pyro_vae.cli.parts import Config
from pyro_vae.files import locked, name_lock, remove_halves, replacing
from pyro_vae.processes import by_first
from pyro_vae.progress import progress_bar

if TYPE_CHECKING:
    from pandas import DataFrame

# options that runs of an earlier version do not have, as those runs were
ADDED = {
    "objective": "elbo",
    "draws": 5,
    "compile": False,
    "precision": None,
    "pair": "vae",
    "condition": None,
    "columns": None,
    "labels": None,
    "label_weight": None,
    "levels": None,
    "order": None,
    "clusters": None,
    "start_epochs": None,
    "subsets": None,
}


@dataclass(frozen=True)
class Run:
    """The folder of a run: config.json, weights, metrics, figures, the picture and the report.

    A file in it is whole or not there.
    Each method that reads or writes raises a ValueError with the folder where that fails. Of
    several processes the first alone writes.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """What the run was asked to do, and with which versions it was done."""
        return self.folder / "config.json"

    @property
    def checkpoint(self) -> Path:
        """The state from which training can go on."""
        return self.folder / "checkpoint.safetensors"

    @property
    def weights(self) -> Path:
        """The weights at the end of training."""
        return self.folder / "weights.safetensors"

    @property
    def metrics(self) -> Path:
        """The history of training, a row for each epoch."""
        return self.folder / "metrics.csv"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.folder / "figures"

    @property
    def report(self) -> Path:
        """The page that `measure` writes."""
        return self.folder / "report.html"

    @property
    def imputed(self) -> Path:
        """The table whose missing cells are filled in, where there were any."""
        return self.folder / "imputed.csv"

    @property
    def is_begun(self) -> bool:
        """Whether the folder already holds a run."""
        return self.config.exists()

    @property
    def is_free(self) -> bool:
        """Whether the folder holds no run, and none has just begun there."""
        return not self.is_begun and not name_lock(self._train).exists()

    @contextmanager
    def training(self, is_new: bool) -> Iterator[None]:
        """Inside this context one run alone trains in the folder, which is made if it must be.

        Arguments:
            is_new: Whether the run is new, and must overwrite none.
        """
        made = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        try:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self._train, self._say_taken()):
                if is_new:
                    self.check_free()
                for path in (self.config, self.checkpoint, self.weights, self.metrics):
                    remove_halves(path)
                yield
        finally:
            for folder in made:
                with suppress(OSError):  # it holds something
                    folder.rmdir()

    def check_free(self) -> None:
        """Check that no run is overwritten."""
        if self.is_begun:
            raise ValueError(
                f"out: {self.folder} already holds a run; go on with --resume, or choose another "
                "folder"
            )

    @property
    def _train(self) -> Path:
        """What is locked while the run is trained."""
        return self.folder / "train"

    def _say_taken(self) -> str:
        return (
            f"out: another run trains in {self.folder} now; wait until it ends, or choose another "
            "folder"
        )

    def read_config(self) -> Config:
        """Read the configuration."""
        try:
            return ADDED | json.loads(self.config.read_text())
        except FileNotFoundError:
            raise ValueError(
                f"run: {self.folder} holds no config.json, so it is not the folder of a run"
            ) from None
        except (OSError, ValueError) as error:
            raise ValueError(f"run: cannot read {self.config}: {error}") from error

    @by_first
    def write_config(self, config: Config) -> None:
        """Make the folder and write the configuration."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_json(self.config, config)

    @by_first
    def set_free(self) -> None:
        """Make the folder free for another try, if nothing was trained yet."""
        if not self.checkpoint.exists():
            self.config.unlink(missing_ok=True)

    def load_weights(self, pair: nn.Module) -> None:
        """Load the weights into a pair."""
        if not self.weights.exists():
            raise ValueError(
                f"run: {self.folder} has no weights.safetensors, so it was not trained to the end; "
                f"go on with pyro-vae train --resume --out {self.folder}"
            )
        pv.load_weights(pair, self.weights)

    def read_history(self) -> pv.History:
        """Read the metrics."""
        try:
            with open(self.metrics, newline="") as file:
                rows = list(csv.DictReader(file))
            columns = [[float(row[name]) for row in rows] for name in pv.History._fields]
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"run: cannot read {self.metrics}: {error}") from error
        return pv.History._make(columns)

    @by_first
    def save_weights(self, pair: nn.Module) -> None:
        """Write the weights of a pair."""
        pv.save_weights(pair, self.weights)

    @by_first
    def write_history(self, history: pv.History) -> None:
        """Write the metrics, a row for each epoch."""
        epochs = zip(*history, strict=True)
        with (
            writing(self.folder),
            replacing(self.metrics) as half,
            open(half, "w", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["epoch", *history._fields])
            writer.writerows([epoch, *row] for epoch, row in enumerate(epochs, start=1))

    @by_first
    def write_picture(self, numbers: Mapping) -> None:
        """Write the numbers of the picture."""
        with writing(self.folder):
            _write_json(self.folder / "picture.json", numbers)

    @by_first
    def write_figures(self, figures: Mapping[str, Figure]) -> None:
        """Write figures as PNG files."""
        bar = progress_bar(len(figures), "writing figures", unit="figure")
        with writing(self.folder), bar:
            self.figures.mkdir(exist_ok=True)
            for name, figure in figures.items():
                with replacing(self.figures / f"{name}.png") as half:
                    figure.savefig(half, dpi=130)
                bar.update()

    @by_first
    def write_imputed(self, frame: "DataFrame") -> None:
        """Write a table whose missing cells are filled in."""
        with writing(self.folder), replacing(self.imputed) as half:
            frame.to_csv(half, index=False)

    @by_first
    def write_report(self, page: str) -> None:
        """Write the report."""
        with writing(self.folder), replacing(self.report) as half:
            half.write_text(page, encoding="utf-8")


def find_free(data: str) -> Run:
    """The first folder of runs/ for these data that is free."""
    stem = Path("runs") / Path(data).stem
    run, i = Run(stem), 1
    while not run.is_free:
        i += 1
        run = Run(stem.with_name(f"{stem.name}-{i}"))
    return run


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an OSError into a ValueError that names the folder."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"out: cannot write to {folder} ({error.strerror or error}); choose another folder"
        ) from error


def _write_json(path: Path, content: Mapping) -> None:
    with replacing(path) as half:
        half.write_text(json.dumps(content, indent=2) + "\n")
