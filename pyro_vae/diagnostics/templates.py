"""Data to be simulated: templates of them, and which arguments of a model they are."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_whole
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.weights.draws import list_given, simulate
from pyro_vae.weights.intake import find_device
from pyro_vae.weights.traces import latent_values, quietly, sample_sites, trace, uncondition

LEAST = 10  # data, for a test of uniformity


def count_rows(data: tuple) -> int:
    """How many rows are to be simulated.

    Raises:
        ValueError: if there are too few for a test, or no data at all.
    """
    if not data:
        raise ValueError("x: expected a template of the data, or a number of data, got nothing")

    is_x = isinstance(data[0], Tensor | np.ndarray)
    n = data[0].shape[0] if is_x else check_whole("data", data[0])
    if n < LEAST:
        raise ValueError(
            f"data: expected ten rows or more to simulate, for a test of uniformity, got {n}"
        )
    return n


def make_templates(
    pair: nn.Module, data: tuple, n: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Templates of n rows on the pair's device, and two rows of them.

    A number of data becomes a template of as many rows, which takes no memory.
    """
    x, *covariates = data
    rest = [c.to(find_device(pair, c.device)) for c in covariates]
    few_of_rest = [c[:2] for c in rest]

    if not isinstance(x, Tensor):
        few = simulate(pair, 2, *few_of_rest)["x"]
        x = few[:1].expand(n, *few.shape[1:])
    else:
        x = x.to(find_device(pair, x.device))
        few = x[:2]
    return (x, *rest), (few, *few_of_rest)


@dataclass(frozen=True)
class Simulated:
    """Data that were simulated, and the latents that they were simulated with.

    Attributes:
        data: What the model is called with, x first, `[n, *event]`. What it observes is simulated.
        latents: All values that the model drew and does not observe, by site, `[n, *event]`.
        places: For each observed site its argument's place, and where the site's values lie in it.
    """

    data: tuple[Tensor, ...]
    latents: dict[str, Tensor]
    places: dict[str, tuple[int, Tensor]]


def simulate_data(pair: nn.Module, data: tuple) -> Simulated:
    """Draw z ~ p(z) and x ~ p(x | z), and give each x back in the shape of its argument.

    A model may observe an argument as it is, or views of it: `x.reshape(-1, 784)`, or `x[:, 0]` at
    one site and `x[:, 1:]` at another. It may observe several arguments. What it does not observe
    stays as it is.

    Arguments:
        pair: The pair.
        data: Templates of what the model is called with, x first.

    Raises:
        ValueError: if something else is observed than an argument or views of it.
    """
    templates = tuple(d.clone(memory_format=torch.contiguous_format) for d in data)
    with quietly(pair):
        given = list_given(pair, templates)
        run = trace(uncondition(pair.model), templates, latents=given)

    sites = {name: site for name, site in sample_sites(run).items() if name not in given}
    observed = {name: site for name, site in sites.items() if site["infer"].get("was_observed")}
    places = {name: _find_place(_find_argument(site), templates) for name, site in observed.items()}
    found = {name: place for name, place in places.items() if place is not None}
    _check_places(found, observed)

    simulated = tuple(d.clone() for d in templates)
    for name, (place, index) in found.items():
        numbers = simulated[place].view(-1)
        numbers[index.flatten()] = sites[name]["value"].to(numbers.dtype).flatten()
    if isinstance(pair, ChecksData) and pair.takes_missing:
        simulated = tuple(
            torch.where(t.isnan(), t, s) for t, s in zip(templates, simulated, strict=True)
        )
    latents = {name: site["value"] for name, site in sites.items() if name not in observed}
    return Simulated(simulated, latents, found)


def find_observed_arguments(pair: nn.Module, few: tuple) -> dict[int, list[str]]:
    """Which arguments of the model are observed, and at which sites.

    Raises:
        ValueError: if the guide and the model have not the same latents, or something else is
            observed than an argument or views of it.
    """
    with quietly(pair):
        guide = trace(pair.guide, few)
    simulated = simulate_data(pair, few)
    _check_latents(set(simulated.latents), set(latent_values(guide)))

    names: dict[int, list[str]] = {}
    for name, (place, _) in simulated.places.items():
        names.setdefault(place, []).append(name)
    return names


def _find_argument(site: dict) -> Tensor:
    """What a site observes, or the argument that it is made of, where the site says so."""
    return site["infer"].get("argument", site["infer"]["obs"])


def _find_place(values: Tensor, arguments: tuple) -> tuple[int, Tensor] | None:
    """Which argument the values are a view of, and where in it each lies, or None."""
    for place, argument in enumerate(arguments):
        if _is_view(values, argument):
            index = torch.arange(argument.numel(), device=argument.device)
            return place, index.as_strided(values.shape, values.stride(), values.storage_offset())
    return None


def _is_view(values: object, argument: Tensor) -> bool:
    if not isinstance(values, Tensor) or values.dtype != argument.dtype:
        return False
    return values.untyped_storage().data_ptr() == argument.untyped_storage().data_ptr()


def _check_latents(in_model: set[str], in_guide: set[str]) -> None:
    if in_model == in_guide:
        return

    raise ValueError(
        f"the latents of the model, {', '.join(sorted(in_model)) or 'none'}, are not those of the "
        f"guide, {', '.join(sorted(in_guide)) or 'none'}; sample the same in both"
    )


def _check_places(places: dict[str, tuple[int, Tensor]], observed: dict[str, dict]) -> None:
    lost = sorted(set(observed) - set(places))
    if lost or not observed:
        raise ValueError(
            f"the model observes {', '.join(lost) or 'nothing'}, not one of its arguments as it "
            "is, nor a view of one, so what is simulated cannot be given to the guide; pass the "
            "data as they are observed, obs=x or obs=x.reshape(...), and say what is hidden with "
            "obs_mask or pyro.poutine.mask"
        )

    for place in {place for place, _ in places.values()}:
        names = [name for name, (at, _) in places.items() if at == place]
        index = torch.cat([places[name][1].flatten() for name in names])
        if len(index.unique()) < len(index):
            raise ValueError(
                f"the model observes the same numbers of its argument {place} more than once, at "
                f"{', '.join(sorted(names))}, so no data can be simulated; pass what each site "
                "observes as an argument of its own"
            )
