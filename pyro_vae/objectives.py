"""Objectives: bounds on log p(x) as losses, and wrappers that weigh their terms; the pair is left alone."""

from collections.abc import Callable
from functools import partial

import torch
from pyro.infer import ELBO, Trace_ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_vae.compiled import CompiledLoss, exportable
from pyro_vae.pairs.pair import OwnParameters


class Objective(nn.Module):
    r"""The mean loss per datum, in nats, as a module: the seam at which any engine takes hold.

    .. math:: -\frac{1}{n} \sum_i \mathrm{ELBO}(x_i)

    A mean, so that the gradients of several processes, averaged, are those of one. It uses the pair's own
    parameters, never those of the global store. (Kingma & Welling, 2014)

    Use:
        objective: the first choice, with stock `Trace_ELBO`; every bound below is its `elbo=`.

    Arguments:
        pair: The pair.
        elbo: Any of Pyro's, or with the same `differentiable_loss(model, guide, *data)`; by default `Trace_ELBO()`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> pv.Objective(vae)(torch.ones(5, 3)).shape
        torch.Size([])
    """

    def __init__(self, pair: nn.Module, elbo: ELBO | None = None):
        super().__init__()

        for method in ("model", "guide"):
            if not callable(getattr(pair, method, None)):
                raise TypeError(f"pair: expected a module with methods model and guide, got {type(pair).__name__}")
        self.pair = pair
        self.elbo = Trace_ELBO() if elbo is None else elbo
        if not hasattr(self.elbo, "differentiable_loss"):
            raise TypeError(f"elbo: expected an object such as Trace_ELBO(), got {self.elbo!r}")

    @property
    def bound(self) -> bool:
        """Whether minus the loss is a lower bound on log p(x), in expectation."""
        return getattr(self.elbo, "bound", "lower") == "lower"

    def forward(self, *data: Tensor) -> Tensor:
        return self._mean(self.elbo, *data)

    def compile(self) -> None:
        """From now on, run the handlers once and then compiled code; see `CompiledLoss`.

        Raises:
            TypeError: if the ELBO cannot be compiled.
        """
        elbo = exportable(self.elbo)
        before = getattr(elbo, "advance", None)
        self._compiled_call_impl = CompiledLoss(partial(self._mean, elbo), [self], before=before)

    def _mean(self, elbo: ELBO, *data: Tensor) -> Tensor:
        with OwnParameters():
            return elbo.differentiable_loss(self.pair.model, self.pair.guide, *data) / data[0].shape[0]


class KLWeight(nn.Module):
    r"""An objective whose KL term is weighted, constantly (beta-VAE) or by a schedule (KL annealing).

    .. math:: -E_q[\log p(x|z)] + \beta \, KL(q(z|x) \,\|\, p(z))

    For beta above 1 it is still a bound on log p(x), a looser one; below 1 it is none. Over an importance-weighted
    objective it tempers the weights. What `fit` and
    `diagnostics` report is always the ELBO at beta = 1. (Higgins et al., 2017; Bowman et al., 2016)

    Use:
        objective: above 1 for latents that are independent of each other; rising from 0 against unused latents.

    Arguments:
        objective: An `Objective`.
        beta: The weight, or a function of the number of training steps done so far, `linear(1000)` for one.

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


def linear(steps: int, to: float = 1.0) -> Callable[[int], float]:
    """A schedule for `KLWeight`: from 0, linearly, to its last value after so many training steps.

    Example:
        >>> [linear(4)(step) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    return lambda step: to * min(1.0, step / steps)


class _ScaleLatents(Messenger):
    scale: Tensor

    def _pyro_sample(self, msg: dict) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.scale
