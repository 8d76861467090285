"""A weight on the KL term of any objective, or on that of each latent."""

from collections.abc import Callable, Mapping

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.arguments import check_within
from pyro_vae.objectives.objective import Loss, Objective, check_objective
from pyro_vae.objectives.schedules import Scheduled
from pyro_vae.weights.traces import is_plate

Weight = float | Callable[[int], float]


class KLWeight(Loss, Scheduled):
    r"""An objective with a weight on its KL term: constant (beta-VAE), or scheduled (KL annealing).

    .. math:: -E_q[\log p(x|z)] + \beta \, KL(q(z|x) \,\|\, p(z))

    Several latents may have a weight each, so that levels are warmed up one after the other:

    .. math:: -E_q[\log p(x|z)] + \sum_l \beta_l \, E_q[\log q(z_l | \cdot) - \log p(z_l | \cdot)]

    With beta above 1 it is still a bound on log p(x), a looser one. With beta below 1 it is none.
    With weights that differ it is a bound only where all are at least 1 and the guide draws in the
    order of the model: otherwise a part of the KL may be negative. Over an importance-weighted
    objective it tempers the weights, and any beta but 1 makes it no bound. What `fit` and
    `diagnostics` report is always the ELBO at beta = 1. (Higgins et al., 2017; Bowman et al., 2016;
    for levels Sønderby et al., 2016)

    Use:
        objective: above 1 for latents that are independent of each other; rising from 0 against
            unused latents.

    Arguments:
        objective: An `Objective`.
        beta: The weight, or a function of the number of training steps done so far, such as
            `linear(1000)`. Or a dictionary with one of these for each latent that it names. The
            others then have weight 1.

    Attributes:
        weight: The weight of the last step, a buffer; `[latents]` for a dictionary.
        steps: Training steps done so far, a buffer.

    Raises:
        TypeError: if the objective is none, beta is no number, or a latent in the dictionary is not
            named by a string.
        ValueError: if beta is negative or not finite, or the dictionary is empty. At the first
            call, if it names a latent that the pair does not have.

    Example:
        >>> annealed = pv.KLWeight(pv.Objective(vae), pv.linear(1000))
        >>> _ = annealed(x)
        >>> int(annealed.steps)
        1
        >>> ladder = pv.HierarchicalVAE(
        ...     priors=[pv.StandardNormal(2), pv.Normal(4, given=2)],
        ...     likelihood=pv.Bernoulli(3, given=4),
        ...     variationals=[pv.Normal(2, given=3), pv.Normal(4, given=[3, 2])],
        ...     order="top_down",
        ... )
        >>> rising = {"z1": pv.linear(100), "z2": pv.linear(400)}
        >>> pv.KLWeight(pv.Objective(ladder), rising)(x).shape
        torch.Size([])
    """

    weight: Tensor

    def __init__(self, objective: Loss, beta: Weight | Mapping[str, Weight]):
        super().__init__()

        check_objective(objective)
        self.objective = objective
        self.sites = _read_sites(beta) if isinstance(beta, Mapping) else None
        betas = list(beta.values()) if isinstance(beta, Mapping) else [beta]
        self.schedules = [b if callable(b) else _stay(b) for b in betas]
        self.register_buffer("weight", torch.tensor(self._find_weight()), persistent=False)
        # one handler for all steps, so that a compiled objective is compiled once
        self._scale = _ScaleLatents(self.sites)

    def forward(self, *data: Tensor) -> Tensor:
        is_capturing = data[0].is_cuda and torch.cuda.is_current_stream_capturing()
        if not is_capturing:
            self.advance()

        self._scale.scale = self.weight
        with self._scale:
            loss = self.objective(*data)
        self._scale.finish()
        return loss

    @property
    def is_lower_bound(self) -> bool:
        """Whether minus the loss is a lower bound on log p(x), in expectation.

        It is so at the weight of the last step. With weights that differ it is not known to be one
        before the first call.
        """
        inner = isinstance(self.objective, Loss) and self.objective.is_lower_bound
        weights = {*self.weight.flatten().tolist()}
        if self._scale.has_others:
            weights.add(1.0)
        if not inner or weights == {1.0}:
            return inner
        if isinstance(self.objective, Objective) and not self.objective.is_average:
            return False

        return min(weights) >= 1 and (len(weights) == 1 or self._scale.is_in_order)

    def advance(self) -> None:
        """Set the weight of the next step. In training mode, count that step.

        `forward` calls it, except within a CUDA graph, which cannot.
        """
        self.weight.copy_(torch.tensor(self._find_weight()))
        if self.training:
            self.steps += 1

    def _find_weight(self) -> float | list[float]:
        step = int(self.steps)
        if self.sites is None:
            return _find_weight("beta", self.schedules[0], step)

        return [
            _find_weight(f"beta of {site!r}", schedule, step)
            for site, schedule in zip(self.sites, self.schedules, strict=True)
        ]


def _find_weight(name: str, schedule: Callable[[int], float], step: int) -> float:
    """The weight at a step. A function that takes no step is refused by name."""
    try:
        weight = schedule(step)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error
    return check_within(name, weight.item() if isinstance(weight, Tensor) else weight, 0.0)


def _stay(beta: float) -> Callable[[int], float]:
    """A schedule that does not change."""
    return lambda step: beta


def _read_sites(beta: Mapping[str, Weight]) -> list[str]:
    if not beta:
        raise ValueError("beta: expected a weight for one latent at least, got an empty dictionary")
    for site in beta:
        if not isinstance(site, str):
            raise TypeError(f"beta: expected latents by name, got {site!r}")
    return list(beta)


class _ScaleLatents(Messenger):
    """Multiplies the scale of every latent, or of each by its own weight.

    Arguments:
        sites: The latents that have a weight of their own, or None.

    Attributes:
        scale: The weight, or one for each of the sites.
        met: The latents of the first run, in the order of the guide and then of the model.
        is_first: Whether the first run is still to be finished.
    """

    scale: Tensor

    def __init__(self, sites: list[str] | None):
        super().__init__()
        self.sites = sites
        self.met: list[str] = []
        self.is_first = True

    def _pyro_sample(self, msg: dict) -> None:
        if msg["is_observed"]:
            return
        if self.is_first and not is_plate(msg):
            self.met.append(msg["name"])
        if self.sites is None:
            msg["scale"] = msg["scale"] * self.scale
        elif msg["name"] in self.sites:
            msg["scale"] = msg["scale"] * self.scale[self.sites.index(msg["name"])]

    @property
    def latents(self) -> list[str]:
        """All latents, in the order of the guide."""
        return list(dict.fromkeys(self.met))

    @property
    def has_others(self) -> bool:
        """Whether some latent is not known to have a weight of its own."""
        if self.sites is None:
            return False
        return self.is_first or not set(self.latents) <= set(self.sites)

    @property
    def is_in_order(self) -> bool:
        """Whether the guide draws the latents in the order of the model, as far as was seen."""
        count = len(self.latents)
        return count > 0 and self.met[count : 2 * count] == self.latents

    def finish(self) -> None:
        """After the first run, refuse sites that the pair does not have."""
        if not self.is_first:
            return

        unknown = [site for site in self.sites or [] if site not in self.met]
        if unknown:
            latents = ", ".join(map(repr, self.latents)) or "none"
            self.met.clear()
            raise ValueError(
                f"beta: the pair has no latent {unknown[0]!r}; its latents are {latents}"
            )
        self.is_first = False
