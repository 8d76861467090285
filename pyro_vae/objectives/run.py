"""Guide and model, run once at k draws: what a bound does its arithmetic on."""

from collections.abc import Callable
from functools import cached_property, partial

from pyro import poutine
from torch import Tensor

from pyro_vae.weights.listed import find_listed, is_listed, refuse_large
from pyro_vae.weights.obstacles import (
    NO_SIZE,
    compare_latents,
    compare_plates,
    find_data_plate,
)
from pyro_vae.weights.traces import (
    latent_sites,
    latent_values,
    log_prob,
    sample_sites,
    trace,
    uncondition,
)
from pyro_vae.weights.weights import Weights, combine, spread, sum_sites


class Run:
    """Draws of q(z | x), the sites of guide and model at them, and their weights.

    Weights are of one datum each. The scale of what the model observes, N/B of a subsampled plate
    for example, is not part of them: it multiplies a datum's bound. A latent that is scaled beyond
    that, by a `KLWeight`, is tempered within the weights.

    Arguments:
        model, guide: The functions of a pair.
        args, kwargs: What they are called with, x first.
        draws: How many draws of z for each datum, k.

    Attributes:
        model, guide: The sample sites by name.
        shape: (draws, data), the shape of every term.
        scale: What multiplies a datum's bound, the scale of the model's first observed site.

    Raises:
        ValueError: if the pair has no weight per datum, or observes nothing, or if too many numbers
            would be decoded at once.

    Example:
        >>> run = Run(vae.model, vae.guide, (x,), {}, 4)
        >>> run.weights.log_weight.shape
        torch.Size([4, 5])
    """

    def __init__(self, model: Callable, guide: Callable, args: tuple, kwargs: dict, draws: int):
        self._model = partial(model, **kwargs)
        self._guide = partial(guide, **kwargs)
        self._args = args
        self._plate = draws if draws > 1 else None

        guide_trace = trace(self._guide, args, draws=self._plate, lists=True)
        refuse_large(find_listed(latent_sites(guide_trace)), draws, args[0])
        # the indices of subsampled plates are shared, as the draws are
        self._shared = _find_drawn(guide_trace)
        model_trace = trace(self._model, args, draws=self._plate, latents=self._shared)

        self.traces = model_trace, guide_trace
        self.model, self.guide = sample_sites(model_trace), sample_sites(guide_trace)
        data_plate = _refuse(self.model, self.guide)
        first = next(site for site in self.model.values() if site["is_observed"])
        self.scale = first["scale"]
        self.shape = (draws, args[0].shape[0] if data_plate.size == NO_SIZE else data_plate.size)
        self._like = first["value"]

    @cached_property
    def weights(self) -> Weights:
        """The terms of log w for each draw and datum."""
        return combine(self.model, self.guide, self.shape, self._like, self._score)

    @property
    def has_listed(self) -> bool:
        """Whether some latent takes all its values, and is summed over."""
        return any(is_listed(q) for q, _ in self.latents.values())

    @cached_property
    def latents(self) -> dict[str, tuple[dict, dict]]:
        """The sites of q and p, by name, of what the guide draws."""
        drawn = {name: site for name, site in self.guide.items() if not site["is_observed"]}
        return {name: (q, self.model[name]) for name, q in drawn.items()}

    @cached_property
    def latents_without_path(self) -> dict[str, dict]:
        """The guide's sites that are drawn, and have no reparametrised draws."""
        drawn = {name: q for name, (q, _) in self.latents.items() if not is_listed(q)}
        return {name: q for name, q in drawn.items() if not q["fn"].has_rsample}

    @property
    def log_score(self) -> Tensor:
        """log q of the sites without reparametrised draws. Its gradient is the score."""
        return sum_sites(self.latents_without_path, self.shape, self._like)

    @property
    def is_tempered(self) -> bool:
        """Whether some term of the weights has a scale of its own."""
        sites = [*self.model.values(), *self.guide.values()]
        ratios = [site["scale"] / self.scale for site in sites]
        return any(_is_not_one(ratio) for ratio in ratios)

    def sum_terms(self, sites: dict[str, dict]) -> Tensor:
        """The sum over sites of their log-probabilities, `[draws, data]`."""
        return sum_sites(sites, self.shape, self._like, self._score)

    def scale_term(self, name: str, value: Tensor, site: dict) -> Tensor:
        """A value of one site for each draw and datum, scaled relative to what is observed."""
        return spread(name, value * (site["scale"] / self.scale), self.shape)

    def score_joint_again(self) -> Tensor:
        """log p(x, z) with the draws as constants: the model is run once more."""
        run = trace(self._model, self._args, draws=self._plate, latents=self._constants())
        return self.sum_terms(sample_sites(run))

    def score_variational_again(self) -> Tensor:
        """log q(z | x) with the draws as constants.

        The guide is run once more only where one latent may depend on another.
        """
        constants = self._constants()
        if len(self.latents) > 1:
            run = trace(self._guide, self._args, draws=self._plate, latents=constants)
            return self.sum_terms(latent_sites(run))

        sites = {name: {**q, "value": constants[name]} for name, (q, _) in self.latents.items()}
        return self.sum_terms(sites)

    def draw_from_prior(self) -> dict[str, Tensor]:
        """Draws of p(z), of the shape of those of q."""
        plates = {name: v for name, v in self._shared.items() if name not in self.guide}
        model = uncondition(self._model)
        drawn = latent_values(trace(model, self._args, draws=self._plate, latents=plates))

        return {name: drawn[name] for name in self.latents}

    def _constants(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self._shared.items()}

    def _score(self, site: dict) -> Tensor:
        """The log-probability of a site, scaled relative to what is observed."""
        return log_prob(site) * (site["scale"] / self.scale)


def _is_not_one(ratio) -> bool:
    # the scale of a subsampled plate may be symbolic in a compiled loss, and then equals itself
    return isinstance(ratio, Tensor) or (isinstance(ratio, float) and ratio != 1)


def _find_drawn(guide_trace: poutine.Trace) -> dict[str, Tensor]:
    """All that a guide drew, the indices of plates as well."""
    sites = {name: site for name, site in guide_trace.nodes.items() if site["type"] == "sample"}
    return {name: site["value"] for name, site in sites.items() if not site["is_observed"]}


def _refuse(model: dict[str, dict], guide: dict[str, dict]):
    """Raise a ValueError if there is no weight per datum. It returns the plate over the data."""
    obstacles = compare_latents(model, guide) + compare_plates(model, guide)
    if obstacles:
        raise ValueError("this pair has no bound per datum: " + "; ".join(obstacles))

    data_plate = find_data_plate(model)
    if data_plate is None:
        raise ValueError(
            "model: it observes nothing, so there is no log p(x); pass obs=x to the site of the "
            "data"
        )
    return data_plate
