"""The steps of a run that take time: train, and measure."""

import sys
from typing import Any

import torch
import typer
from torch import nn

import pyro_vae as pv
from pyro_vae.cli.data import NONE, RunData
from pyro_vae.cli.parts import Config
from pyro_vae.cli.runs import Run
from pyro_vae.diagnostics import Picture

EFFORTS: dict[str, dict[str, int]] = {
    "quick": {"num_samples": 1000, "simulations": 500},
    "normal": {"num_samples": 5000, "simulations": 1000, "num_steps": 100, "refit_steps": 200},
    "thorough": {
        "num_samples": 20_000,
        "simulations": 5000,
        "num_steps": 500,
        "num_chains": 16,
        "refit_steps": 1000,
    },
}
ROWS = {"quick": 1000, "normal": 100, "thorough": 100}  # test data that are measured, at most


def fit(
    run: Run, config: Config, data: RunData, pair: pv.VAE, objective: nn.Module, resume: bool
) -> pv.History:
    """Train the pair. Ctrl-C says how to go on, and a run that trained nothing leaves no trace."""
    transform = None if data.binarisation == NONE else torch.bernoulli
    try:
        return pv.fit(
            pair,
            data.dataset.train,
            epochs=config["epochs"],
            batch_size=config["batch_size"],
            learning_rate=config["learning_rate"],
            objective=objective,
            validation=data.dataset.validation,
            patience=config["patience"],
            transform=transform,
            device=config["device"],
            compile=config["compile"],
            precision=config["precision"],
            checkpoint=run.checkpoint,
            resume=resume,
            seed=config["seed"],
        )
    except KeyboardInterrupt as stop:
        where = str(stop).partition(";")[0] or "stopped"
        print(f"\n{where}; go on with: pyro-vae train --resume --out {run.folder}", file=sys.stderr)
        raise typer.Exit(130) from None
    except (TypeError, ValueError, RuntimeError) as error:
        if not resume:
            run.set_free()
        if config["compile"] and isinstance(error, RuntimeError):
            raise ValueError(f"compile: {error}") from error
        raise


def measure(
    run: Run, config: Config, data: RunData, pair: pv.VAE, rows: int, effort: dict[str, Any]
) -> Picture:
    """Measure the picture on so many test data, write its numbers and print it."""
    x = data.dataset.test[:rows].to(config["device"])
    binarisation = config["binarisation"]
    protocol = {"data": config["data"], "split": "test", "binarisation": binarisation}

    torch.manual_seed(config["seed"])
    picture = pv.diagnostics.picture(pair, x, **effort)
    run.write_picture(protocol | picture.as_dict())
    print(f"test split of {config['data']}, binarisation: {binarisation}\n{picture}")
    return picture
