"""What a user asked for, as the configuration of a new run or of one that goes on."""

import os
from pathlib import Path
from typing import NamedTuple

import pyro_vae as pv
from pyro_vae.cli.objectives import OBJECTIVES
from pyro_vae.cli.parts import Config
from pyro_vae.cli.runs import Run, find_free
from pyro_vae.cli.stories import OWN_OPTIONS, STORIES, Story, choose_story

CHANGEABLE = {"epochs", "device", "num_samples"}  # by a run that goes on


class Plan(NamedTuple):
    """A run, and its configuration."""

    run: Run
    config: Config


def begin(options: Config, out: Path | None) -> Plan:
    """Plan a new run.

    Arguments:
        options: All options by name.
        out: The folder of the run. By default the next free one.

    Raises:
        ValueError: if the folder already holds a run, or an option does not go with the pair.
    """
    config = _with_defaults(_with_full_path(options))
    run = find_free(config["data"]) if out is None else Run(out)
    run.check_free()
    return Plan(run, config)


def go_on(options: Config, out: Path | None) -> Plan:
    """Plan the rest of a run.

    Arguments:
        options: The options that the user gave, by name.
        out: The folder of the run.

    Raises:
        ValueError: if there is no such run, or it has another value of an option.
    """
    if out is None:
        raise ValueError("resume: say which run, with --out")

    run = Run(out)
    config = run.read_config()
    options = _with_full_path(options)
    # data are known by what they hold, wherever they lie
    free = CHANGEABLE | {"data"} if "data_sum" in config else CHANGEABLE
    for name in options.keys() - free:
        if options[name] != config[name]:
            raise ValueError(
                f"{name}: the run in {out} has {config[name]!r}, got {options[name]!r}; "
                "leave it out to resume"
            )
    return Plan(run, config | options)


def _with_defaults(options: Config) -> Config:
    """The options, where those that only some pairs have take the pair's own defaults."""
    story = choose_story(options)
    _check_objective(story, options["objective"])
    own = story.options
    given = {name for name in OWN_OPTIONS if options[name] is not None}
    wrong = sorted(given - own.keys())
    if wrong:
        others = ", ".join(other.how for other in STORIES if wrong[0] in other.options)
        raise ValueError(f"{wrong[0]}: it goes with {others}, got {story.how}")
    return options | {name: own[name] for name in own.keys() - given}


def _check_objective(story: Story, objective: str) -> None:
    if objective not in story.refused:
        return
    others = [name for name in OBJECTIVES if name not in story.refused]
    raise ValueError(
        f"objective: {objective} does not go with {story.how}: {story.refused[objective]}. "
        f"Take one of {', '.join(others)}."
    )


def _with_full_path(options: Config) -> Config:
    """The options, with a path to data that holds from every folder."""
    data = options.get("data")
    if data is None or data in pv.data.NAMES:
        return dict(options)
    return options | {"data": os.path.abspath(data)}
