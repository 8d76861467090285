"""A weight on the KL term of any objective."""

from collections.abc import Callable

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn


class KLWeight(nn.Module):
    r"""An objective whose KL term is weighted, constantly (beta-VAE) or by a schedule (KL
    annealing).

    .. math:: -E_q[\log p(x|z)] + \beta \, KL(q(z|x) \,\|\, p(z))

    For beta above 1 it is still a bound on log p(x), a looser one; below 1 it is none. Over an
    importance-weighted objective it tempers the weights. What `fit` and
    `diagnostics` report is always the ELBO at beta = 1. (Higgins et al., 2017; Bowman et al., 2016)

    Use:
        objective: above 1 for latents that are independent of each other; rising from 0 against
            unused latents.

    Arguments:
        objective: An `Objective`.
        beta: The weight, or a function of the number of training steps done so far, `linear(1000)`
            for one.

    Raises:
        ValueError: if beta is negative or not finite.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> annealed = pv.KLWeight(pv.Objective(vae), pv.linear(1000))
        >>> _ = annealed(torch.ones(5, 3))
        >>> int(annealed.steps)
        1
    """

    steps: Tensor

    def __init__(self, objective: nn.Module, beta: float | Callable[[int], float]):
        super().__init__()

        self.objective = objective
        self.beta = beta if callable(beta) else lambda step: beta
        self.register_buffer("steps", torch.tensor(0))
        # a tensor and one handler, so that a compiled objective reads the weight anew at each step
        self.register_buffer("weight", torch.tensor(self._weight()), persistent=False)
        self._scale = _ScaleLatents()

    def forward(self, *data: Tensor) -> Tensor:
        if not (data[0].is_cuda and torch.cuda.is_current_stream_capturing()):
            self.advance()
        self._scale.scale = self.weight
        with self._scale:
            return self.objective(*data)

    @property
    def bound(self) -> bool:
        """Whether, at the weight of the last step, minus the loss is a lower bound on log p(x), in expectation."""
        return self.weight.item() >= 1 and getattr(self.objective, "bound", False)

    def advance(self) -> None:
        """Set the weight of the next step; `forward` does it, except within a CUDA graph, which cannot."""
        self.weight.fill_(self._weight())
        if self.training:
            self.steps += 1

    def _weight(self) -> float:
        beta = float(self.beta(int(self.steps)))
        if not 0 <= beta < float("inf"):
            raise ValueError(f"beta: expected a finite weight of at least 0, got {beta}")
        return beta


class _ScaleLatents(Messenger):
    scale: Tensor

    def _pyro_sample(self, msg: dict) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.scale
