"""The steps of a run that take time: train, and measure."""

import signal
import sys
from contextlib import suppress
from typing import Any, NamedTuple

import torch
import typer
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.cli.data import NONE, Rows, RunData
from pyro_vae.cli.parts import Config
from pyro_vae.cli.runs import Run
from pyro_vae.cli.stories import Story
from pyro_vae.cli.stories.story import NUM_SAMPLES
from pyro_vae.diagnostics import Picture
from pyro_vae.look.findings import Findings, list_numbers, write_findings
from pyro_vae.look.verdict import judge, score_independent
from pyro_vae.processes import by_first
from pyro_vae.training.interrupts import Stopped

EFFORTS: dict[str, dict[str, int]] = {
    "quick": {"num_samples": 1000, "simulations": 500},
    "normal": {"num_samples": 5000, "simulations": 1000, "num_steps": 100, "refit_steps": 500},
    "thorough": {
        "num_samples": 20_000,
        "simulations": 5000,
        "num_steps": 500,
        "num_chains": 16,
        "refit_steps": 2000,
    },
}
ROWS = {"quick": 1000, "normal": 100, "thorough": 100}  # test data that are measured, at most


class Job(NamedTuple):
    """A run with its pair and its data.

    Attributes:
        run: The folder.
        config: What it was asked to do.
        story: What the command line knows of the pair.
        data: The data, as the pair takes them.
        pair: The pair.
    """

    run: Run
    config: Config
    story: Story
    data: RunData
    pair: nn.Module


class Measured(NamedTuple):
    """The picture of a pair, whether it worked, and what is measured of its kind alone."""

    picture: Picture
    verdict: str
    findings: Findings


def choose_effort(story: Story, name: str, num_samples: int | None) -> dict[str, Any]:
    """How thoroughly a pair is measured, at fewer draws where each takes long."""
    effort = dict(EFFORTS[name])
    share = story.options["num_samples"] / NUM_SAMPLES
    effort["num_samples"] = round(share * effort["num_samples"])
    if num_samples is not None:
        effort["num_samples"] = num_samples
    if not story.is_refitted:
        effort.pop("refit_steps", None)
    return effort


def fit(job: Job, objective: nn.Module, resume: bool) -> pv.History:
    """Train the pair. Who stops it is told how to go on. What trained nothing leaves no trace."""
    run, config, story, data, pair = job
    names = ("batch_size", "learning_rate", "device", "compile", "precision", "seed")
    options = {name: config[name] for name in names}
    options["transform"] = None if data.binarisation == NONE else torch.bernoulli
    try:
        # a run that goes on has its weights in its checkpoint
        if not run.checkpoint.exists():
            story.start(config, data, pair, options)
        return pv.fit(
            pair,
            *data.train,
            epochs=config["epochs"],
            objective=objective,
            validation=data.validation,
            patience=config["patience"],
            checkpoint=run.checkpoint,
            resume=resume,
            **options,
        )
    except KeyboardInterrupt as stop:
        where = str(stop).partition(";")[0] or "stopped"
        tell(f"{where}; go on with: pyro-vae train --resume --out {run.folder}")
        raise typer.Exit(find_status(stop)) from None
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        if not resume:
            run.set_free()
        if config["compile"] and isinstance(error, RuntimeError):
            raise ValueError(f"compile: {error}") from error
        raise


@by_first
def tell(line: str) -> None:
    """Write a line on standard error, if there is still someone who reads it."""
    with suppress(OSError):
        print(f"\n{line}", file=sys.stderr, flush=True)


def find_status(stop: KeyboardInterrupt) -> int:
    """The exit status of a process that a signal stopped, as shells have it."""
    number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
    return 128 + number


def measure(job: Job, rows: int, effort: dict[str, Any]) -> Measured:
    """Measure the picture on so many test data, write its numbers and print it."""
    run, config, story, data, pair = job
    test = tuple(d[:rows].to(config["device"]) for d in data.test)
    protocol = {"data": config["data"], "split": "test", "binarisation": data.binarisation}

    torch.manual_seed(config["seed"])
    picture = pv.diagnostics.picture(pair, *test, **effort)
    findings = story.measure(pair, data, test, picture)
    more = {"findings": list_numbers(findings)} if findings else {}
    verdict = judge(picture, _score_independent(job, test))
    run.write_picture({"verdict": verdict} | protocol | picture.as_dict() | more)
    print(
        f"{verdict}\n\ntest split of {config['data']}, binarisation: {data.binarisation}\n{picture}"
    )
    if findings:
        print(write_findings(findings))
    return Measured(picture, verdict, findings)


def _score_independent(job: Job, test: Rows) -> Tensor | None:
    """What the verdict compares with, where x is binary, whole, and all that is predicted."""
    x, *more = test
    is_alone = not more or job.config["condition"] is not None
    if job.config["likelihood"] != "bernoulli" or not is_alone or not x.isfinite().all():
        return None

    return score_independent(job.data.dataset.train.to(x), x)
