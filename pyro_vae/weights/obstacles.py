"""Why a pair has no weight per datum, and what to write instead."""

import torch
from pyro.poutine import Trace

from pyro_vae.weights.traces import DRAWS, is_plate, sample_sites

NO_SIZE = -1  # what Pyro writes for a plate without a size


def refuse_obstacles(model_trace: Trace, guide_trace: Trace) -> None:
    """Raise a ValueError if the draws of a pair cannot be weighed datum by datum.

    Each datum needs a weight of its own. So model and guide have the same latents, every site lies
    in the plate over the data, and no plate subsamples.
    """
    obstacles = find_obstacles(model_trace, guide_trace)
    if obstacles:
        raise ValueError("this pair has no weight per datum: " + "; ".join(obstacles))


def find_obstacles(model_trace: Trace, guide_trace: Trace) -> list[str]:
    """What stands in the way of weights per datum, each with its cure."""
    sides = {"model": model_trace, "guide": guide_trace}
    model, guide = sample_sites(model_trace), sample_sites(guide_trace)

    return [
        *_find_nothing(model),
        *compare_latents(model, guide),
        *compare_plates(model, guide),
        *_compare_masks(model, guide),
        *(line for side, run in sides.items() for line in _find_subsampling(side, run)),
    ]


def _find_nothing(model: dict[str, dict]) -> list[str]:
    if any(site["is_observed"] for site in model.values()):
        return []
    return ["the model observes nothing; give it the data, pyro.sample('x', ..., obs=x)"]


def compare_latents(model: dict[str, dict], guide: dict[str, dict]) -> list[str]:
    """The latents that only one side has, from the sites of both by name."""
    in_model, in_guide = (
        {name for name, site in sites.items() if not site["is_observed"]}
        for sites in (model, guide)
    )

    lacking = [
        f"the guide lacks the latent {name!r} of the model; sample it in the guide as well"
        for name in sorted(in_model - in_guide)
    ]
    beyond = [
        f"the model lacks the latent {name!r} of the guide; sample it in the model, or drop it"
        for name in sorted(in_guide - in_model)
    ]
    return lacking + beyond


def _compare_masks(model: dict[str, dict], guide: dict[str, dict]) -> list[str]:
    """The latents that are masked in other rows on one side than on the other."""
    latents = [name for name, site in guide.items() if not site["is_observed"]]
    return [
        f"latent {name!r} is masked in other rows in the model than in the guide; mask it in both "
        "alike, with pyro.poutine.mask(mask=...)"
        for name in latents
        if name in model and not _has_same_mask(model[name]["mask"], guide[name]["mask"])
    ]


def _has_same_mask(first: object, second: object) -> bool:
    if first is second:
        return True

    masks = [torch.as_tensor(True if mask is None else mask) for mask in (first, second)]
    return bool((masks[0].cpu() == masks[1].cpu()).all())


def compare_plates(model: dict[str, dict], guide: dict[str, dict]) -> list[str]:
    """The sites that do not lie in the plate over the data, from the sites of both by name.

    That plate is the innermost one of what the model observes, whatever its name is.
    """
    data_plate = find_data_plate(model)
    found = []
    for side, sites in (("model", model), ("guide", guide)):
        for name, site in sites.items():
            plate = _find_innermost(site)
            if plate is None:
                found.append(_describe_outside(name, side))
            elif data_plate is not None and not _has_same_size(plate, data_plate):
                found.append(_describe_other_plate(name, side, plate, data_plate))
    return found


def find_data_plate(model: dict[str, dict]):
    """The plate over the data: the innermost one of the first observed site, or None."""
    plates = [_find_innermost(site) for site in model.values() if site["is_observed"]]
    return next((plate for plate in plates if plate is not None), None)


def _find_innermost(site: dict):
    for frame in site["cond_indep_stack"]:
        if frame.dim == -1 and frame.name != DRAWS:
            return frame
    return None


def _has_same_size(plate, other) -> bool:
    if NO_SIZE in (plate.size, other.size):
        return True
    return plate.size == other.size


def _describe_outside(name: str, side: str) -> str:
    return (
        f"site {name!r} of the {side} is outside the plate over the data; sample it within "
        f"pyro.plate('data', x.shape[0]), as the innermost plate; {_describe_fixing(name)}"
    )


def _describe_other_plate(name: str, side: str, plate, data_plate) -> str:
    return (
        f"site {name!r} of the {side} lies in the plate {plate.name!r} of size {plate.size}, and "
        f"not in the plate over the data, {data_plate.name!r} of size {data_plate.size}; declare "
        "the dimension of the former with .to_event(1), within the latter; "
        f"{_describe_fixing(name)}"
    )


def _describe_fixing(name: str) -> str:
    """How to write a model in which a site that all data share has a given value."""
    return (
        "or, if all data share it, leave it out of the guide and fix it in the model with "
        f"pyro.poutine.block(pyro.poutine.condition(model, {{{name!r}: value}}), hide=[{name!r}])"
    )


def _find_subsampling(side: str, run: Trace) -> list[str]:
    plates = {name: site for name, site in run.nodes.items() if is_plate(site)}
    return [
        f"the plate {name!r} of the {side} subsamples; pass the subset of x as the data instead"
        for name, site in plates.items()
        if len(site["value"]) != site["fn"].size
    ]
