"""A table of mixed columns: a VAE with a family for each column."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import pyro_vae as pv
from pyro_vae.arguments import check_choice, check_whole
from pyro_vae.cli.data import RunData
from pyro_vae.cli.parts import PRIORS, Config, Known, find
from pyro_vae.cli.stories.story import (
    Drawn,
    Figures,
    Request,
    Shown,
    Story,
    arrange_plainly,
    refuse_given,
)
from pyro_vae.data import Dataset
from pyro_vae.data.columns import KINDS
from pyro_vae.data.splits import split
from pyro_vae.look import plots

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 1000  # rows that are drawn for a figure
OVERRULE = f"say otherwise with --columns name=kind,name=kind; kinds: {', '.join(KINDS)}, leave out"


def load(config: Config) -> Dataset:
    """The rows of a CSV file as numbers, with what makes cells of them again."""
    path = Path(config["data"])
    table = pv.data.table(path, _read_kinds(config["columns"]))
    return split(table.x, None, path.name)._replace(table=table)


def _read_kinds(text: str | None) -> dict[str, Any]:
    """Kinds by name, of "age=real,size=small<middle<large"."""
    if text is None:
        return {}
    kinds: dict[str, Any] = {}
    for word in text.split(","):
        name, has_kind, kind = word.rpartition("=")
        if not has_kind:
            raise ValueError(f"columns: expected name=kind,name=kind, got {word!r}")
        kinds[name.strip()] = kind.split("<") if "<" in kind else kind.strip()
    return kinds


def build(config: Config, data: RunData) -> pv.VAE:
    """p(z), a family for each column given z, and q(z|x) that knows which cells are missing."""
    check_choice("variational", config["variational"], ["normal"])
    check_choice("network", config["network"], ["mlp"])
    latent = check_whole("latent", config["latent"])
    components = check_whole("components", config["components"])

    torch.manual_seed(config["seed"])
    known = Known(latent, components, None, data.dataset.train)
    prior = find(PRIORS, "prior", config["prior"])(known)
    return data.dataset.table.make_pair(latent, prior=prior)


def describe(data: RunData) -> str:
    """What each column was taken for, and how to say otherwise."""
    return f"{data.dataset.table}\n{OVERRULE}"


def draw(shown: Shown) -> Figures:
    """Each column beside its draws, and where z lies."""
    table = shown.data.dataset.table
    return {
        "columns": plots.columns(table.frame, table.simulate(shown.pair, SHOWN)),
        "latents": plots.latents(pv.reconstruct(shown.pair, *shown.rows)["z"]),
    }


def sample(pair: pv.VAE, data: RunData, request: Request) -> Drawn:
    """z ~ p(z) and the cells of a row given z."""
    refuse_given(request)
    table = data.dataset.table
    drawn = pv.simulate(pair, 100 if request.draws is None else request.draws)
    frame = table.decode(drawn["x"])

    return Drawn(drawn, plots.columns(table.frame, frame), frame)


def complete(pair: pv.VAE, data: RunData) -> "DataFrame | None":
    """The table with its missing cells filled in, or None where none is missing."""
    table = data.dataset.table
    if not table.x.isnan().any():
        return None
    return table.impute(pair)


STORY = Story(
    how="--pair table",
    options={
        "prior": "standard-normal",
        "latent": 8,
        "columns": None,
        "num_samples": 1000,
    },
    load=load,
    arrange=arrange_plainly,
    build=build,
    describe=describe,
    draw=draw,
    sample=sample,
    complete=complete,
    is_refitted=False,
)
