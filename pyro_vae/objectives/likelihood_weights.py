"""Weights on the likelihoods of the modalities of a pair."""

from collections.abc import Mapping

from pyro.infer import ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.arguments import check_choice, check_type, check_within
from pyro_vae.objectives.bound import Bound
from pyro_vae.objectives.compiled import Compiled
from pyro_vae.objectives.objective import Loss, Objective
from pyro_vae.objectives.weighted import EvidenceLowerBound
from pyro_vae.pairs.multimodal import MultimodalVAE


class LikelihoodWeights(Loss):
    r"""An objective with a weight on the likelihood of each modality.

    .. math:: -\sum_m \lambda_m E_q[\log p(x_m | z)] + KL(q(z|x) \,\|\, p(z))

    An image of many pixels outweighs a label. With weights it is no bound on log p(x), as p(x | z)
    to a power is no density. What `fit` and `diagnostics` report is always the ELBO without
    weights. (Wu & Goodman, 2018)

    Use:
        objective: a `MultimodalVAE` with a modality of few numbers beside one of many.

    Arguments:
        objective: An objective of a `MultimodalVAE` that takes the ELBO: `Objective`, `Subsets`.
        weights: λ by the name of the modality, at least 0. A modality that is not named has 1.

    Raises:
        TypeError: if the objective holds no `Objective` of a `MultimodalVAE`.
        ValueError: if a name is none of its modalities, a weight is negative or not finite, or the
            objective is not made of the ELBO: in other bounds the terms of a datum do not add up.

    Example:
        >>> pair = pv.MultimodalVAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihoods={"image": pv.Bernoulli(3, given=2), "text": pv.Bernoulli(3, given=2)},
        ...     experts={"image": pv.Normal(2, given=3), "text": pv.Normal(2, given=3)},
        ... )
        >>> pv.LikelihoodWeights(pv.Objective(pair), {"text": 10.0})(x, x).shape
        torch.Size([])
    """

    def __init__(self, objective: Loss, weights: Mapping[str, float]):
        super().__init__()

        inner = _find_inner(objective)
        _refuse_nonlinear(inner.elbo)
        names = list(inner.pair.likelihoods)
        check_type("weights", weights, Mapping, "weights by the name of the modality")
        for name in weights:
            check_choice("weights", name, names)
        self.objective = objective
        self.weights = {
            name: check_within(f"weights[{name!r}]", weight, 0.0)
            for name, weight in weights.items()
        }
        # one handler for all steps, so that a compiled objective is compiled once
        self._scale = _ScaleObserved(self.weights)

    def forward(self, *data: Tensor) -> Tensor:
        with self._scale:
            return self.objective(*data)


class _ScaleObserved(Messenger):
    """Multiplies the scale of what is observed, by the name of its site."""

    def __init__(self, weights: dict[str, float]):
        super().__init__()
        self.weights = weights

    def _pyro_sample(self, msg: dict) -> None:
        if msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.weights.get(msg["name"], 1.0)


def _find_inner(objective: Loss) -> Objective:
    modules = objective.modules() if isinstance(objective, Loss) else ()
    for module in modules:
        if isinstance(module, Objective) and isinstance(module.pair, MultimodalVAE):
            return module
    raise TypeError(
        f"objective: expected one that holds a pv.Objective of a MultimodalVAE, got {objective!r}"
    )


def _refuse_nonlinear(elbo: ELBO) -> None:
    """Refuse a bound in which the weighted terms of a datum do not add up."""
    elbo = elbo.elbo if isinstance(elbo, Compiled) else elbo
    is_sum = isinstance(elbo, EvidenceLowerBound) or not isinstance(elbo, Bound)
    if not is_sum:
        raise ValueError(
            f"objective: weights on likelihoods go with the ELBO, pv.Objective(pair), got "
            f"{type(elbo).__name__}"
        )
