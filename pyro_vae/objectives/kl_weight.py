"""A weight on the KL term of any objective."""

from collections.abc import Callable

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.arguments import check_within
from pyro_vae.objectives.objective import Loss
from pyro_vae.objectives.schedules import Scheduled


class KLWeight(Loss, Scheduled):
    r"""An objective with a weight on its KL term: constant (beta-VAE), or scheduled (KL annealing).

    .. math:: -E_q[\log p(x|z)] + \beta \, KL(q(z|x) \,\|\, p(z))

    With beta above 1 it is still a bound on log p(x), a looser one. With beta below 1 it is none.
    Over an importance-weighted objective it tempers the weights. What `fit` and `diagnostics`
    report is always the ELBO at beta = 1. (Higgins et al., 2017; Bowman et al., 2016)

    Use:
        objective: above 1 for latents that are independent of each other; rising from 0 against
            unused latents.

    Arguments:
        objective: An `Objective`.
        beta: The weight, or a function of the number of training steps done so far, such as
            `linear(1000)`.

    Attributes:
        weight: The weight of the last step, a buffer.

    Raises:
        ValueError: if beta is negative or not finite.

    Example:
        >>> annealed = pv.KLWeight(pv.Objective(vae), pv.linear(1000))
        >>> _ = annealed(x)
        >>> int(annealed.steps)
        1
    """

    weight: Tensor

    def __init__(self, objective: Loss, beta: float | Callable[[int], float]):
        super().__init__()

        self.objective = objective
        self.beta = beta if callable(beta) else lambda step: beta
        self.register_buffer("weight", torch.tensor(self._find_weight()), persistent=False)
        # one handler for all steps, so that a compiled objective is compiled once
        self._scale = _ScaleLatents()

    def forward(self, *data: Tensor) -> Tensor:
        is_capturing = data[0].is_cuda and torch.cuda.is_current_stream_capturing()
        if not is_capturing:
            self.advance()

        self._scale.scale = self.weight
        with self._scale:
            return self.objective(*data)

    @property
    def is_lower_bound(self) -> bool:
        """Whether minus the loss is a lower bound on log p(x), in expectation.

        It is so at the weight of the last step.
        """
        inner = isinstance(self.objective, Loss) and self.objective.is_lower_bound
        return inner and self.weight.item() >= 1

    def advance(self) -> None:
        """Set the weight of the next step. In training mode, count that step.

        `forward` calls it, except within a CUDA graph, which cannot.
        """
        self.weight.fill_(self._find_weight())
        if self.training:
            self.steps += 1

    def _find_weight(self) -> float:
        return check_within("beta", float(self.beta(int(self.steps))), 0.0)


class _ScaleLatents(Messenger):
    """Multiplies the scale of every latent."""

    scale: Tensor

    def _pyro_sample(self, msg: dict) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.scale
