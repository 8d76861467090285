"""What a pair infers of data, for ArviZ."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_whole
from pyro_vae.diagnostics.resampling import count_effective, resample
from pyro_vae.weights.draws import list_given
from pyro_vae.weights.intake import admit
from pyro_vae.weights.traces import (
    latent_values,
    observed_sites,
    quietly,
    sample_sites,
    trace,
    uncondition,
)
from pyro_vae.weights.weights import score_each, weigh

if TYPE_CHECKING:
    from arviz import InferenceData

SAID = "draws of q(z|x), resampled by the weights p(x,z)/q(z|x) of the group variational"

Values = dict[str, Tensor]


def to_arviz(pair: nn.Module, *data: Tensor, num_samples: int = 1000) -> "InferenceData":
    r"""Draws of p(z | x), of the prior and of both predictives, as ArviZ's `InferenceData`.

    Draws of p(z | x) are draws of q(z | x), resampled by their weights p(x, z) / q(z | x). So they
    repeat where few draws carry the weight, and they are no Markov chain. All draws are held in
    memory. Take as many data as you would look at. (Rubin, 1987; Kumar, Carroll, Hartikainen &
    Martin, 2019)

    Arguments:
        pair: Any pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of each kind.

    Returns:
        The groups `posterior`, `posterior_predictive`, `log_likelihood`, `prior`,
        `prior_predictive` and `observed_data`. `variational` has the draws of q(z | x) themselves
        with their `log_weight`, in nats. The dimension of the data is "datum". The attributes of
        `posterior` say how its draws came about, and their smallest effective sample size.

    Raises:
        ImportError: if arviz is not installed.
        TypeError, ValueError: as `log_weights`.

    Example:
        >>> found = to_arviz(vae, x[:2], num_samples=50)
        >>> dict(found.posterior["z"].sizes)
        {'chain': 1, 'draw': 50, 'datum': 2, 'z_dim_1': 2}
    """
    arviz = _import_arviz()
    num_samples = check_whole("num_samples", num_samples)
    data = admit(pair, data)

    with quietly(pair):
        candidates = latent_values(trace(pair.guide, data, draws=num_samples))
        log_weight = weigh(pair, data, num_samples, candidates).log_weight
        weights = log_weight.softmax(0)
        posterior = {name: _resample(weights, z) for name, z in candidates.items()}
        groups = _run_model(pair, data, num_samples, posterior)

    ess = count_effective(weights).min().item()
    found = arviz.from_dict(**_arrange({"posterior": posterior, **groups}))
    found.posterior.attrs |= {"how": SAID, "smallest_effective_sample_size": ess}
    candidates["log_weight"] = log_weight
    kept = arviz.from_dict(**_arrange({"posterior": candidates}))
    found.add_groups(variational=kept.posterior)
    return found


def _import_arviz() -> Any:
    try:
        import arviz
    except ImportError as error:
        raise ImportError("to_arviz needs arviz: pip install 'pyro_vae[arviz]'") from error
    return arviz


def _resample(weights: Tensor, z: Tensor) -> Tensor:
    draws = len(weights)
    return resample(weights, z.expand(draws, *z.shape[1:]), draws)


def _run_model(pair: nn.Module, data: tuple, draws: int, z: Values) -> dict[str, Values]:
    """What the model says of the data, at draws of p(z | x) and at draws of its own."""
    shape = (draws, data[0].shape[0])
    given = list_given(pair, data)

    observed = observed_sites(trace(pair.model, data, draws=draws, latents=z))
    drawn = sample_sites(trace(uncondition(pair.model), data, draws=draws, latents=given | z))
    free = sample_sites(trace(uncondition(pair.model), data, draws=draws, latents=given))
    values = {name: site["value"].expand(*shape, *_event(site)) for name, site in free.items()}
    names = [name for name in values if name in observed and name not in given]
    return {
        "posterior_predictive": {name: drawn[name]["value"] for name in names},
        "log_likelihood": score_each(observed, shape),
        "prior": {name: value for name, value in values.items() if name not in observed},
        "prior_predictive": {name: values[name] for name in names},
        "observed_data": {name: site["value"] for name, site in observed.items()},
    }


def _event(site: dict) -> torch.Size:
    return site["fn"].event_shape


def _arrange(groups: dict[str, Values]) -> dict[str, Any]:
    """Groups as ArviZ wants them: one chain of draws, and the data as a named dimension."""
    arrays: dict[str, Any] = {}
    for group, values in groups.items():
        is_drawn = group != "observed_data"
        arrays[group] = {
            name: (value[None] if is_drawn else value).cpu().numpy()
            for name, value in values.items()
        }
    names = {name for values in groups.values() for name in values}
    return arrays | {"dims": {name: ["datum"] for name in names}}
