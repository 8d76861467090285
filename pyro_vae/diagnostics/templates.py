"""Data to be simulated: templates of them, and which arguments of a model they are."""

from pyro import poutine
from torch import Tensor, nn

from pyro_vae.weights.draws import simulate
from pyro_vae.weights.intake import find_device
from pyro_vae.weights.traces import latent_values, quietly, sample_sites, trace

LEAST = 10  # data, for a test of uniformity


def count_rows(data: tuple) -> int:
    """How many rows are to be simulated.

    Raises:
        ValueError: if there are too few for a test, or no data at all.
    """
    if not data:
        raise ValueError("x: expected a template of the data, or a number of data, got nothing")

    n = data[0] if isinstance(data[0], int) else data[0].shape[0]
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

    if isinstance(x, int):
        few = simulate(pair, 2, *few_of_rest)["x"]
        x = few[:1].expand(n, *few.shape[1:])
    else:
        x = x.to(find_device(pair, x.device))
        few = x[:2]
    return (x, *rest), (few, *few_of_rest)


def find_observed_arguments(pair: nn.Module, few: tuple) -> dict[int, str]:
    """Which arguments of the model are observed, and at which sites.

    Raises:
        ValueError: if the guide and the model have not the same latents, or something else than an
            argument as it is, is observed.
    """
    with quietly(pair):
        guide = trace(pair.guide, few)
        model = trace(poutine.uncondition(pair.model), few)

    sites = sample_sites(model)
    observed = {
        name: site["infer"]["obs"]
        for name, site in sites.items()
        if site["infer"].get("was_observed")
    }
    _check_latents(set(sites) - set(observed), set(latent_values(guide)))

    places = {}
    for name, values in observed.items():
        places.update({place: name for place, given in enumerate(few) if values is given})
    _check_places(places, observed)
    return places


def _check_latents(in_model: set[str], in_guide: set[str]) -> None:
    if in_model == in_guide:
        return

    raise ValueError(
        f"the latents of the model, {', '.join(sorted(in_model)) or 'none'}, are not those of the "
        f"guide, {', '.join(sorted(in_guide)) or 'none'}; sample the same in both"
    )


def _check_places(places: dict[int, str], observed: dict[str, Tensor]) -> None:
    if observed and len(places) >= len(observed):
        return

    lost = sorted(set(observed) - set(places.values()))
    raise ValueError(
        f"the model observes {', '.join(lost) or 'nothing'}, not one of its arguments as it is, so "
        "what is simulated cannot be given to the guide; pass the data as they are observed, obs=x"
    )
