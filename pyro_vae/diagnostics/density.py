"""A density of latents, compiled with its gradients in them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.compiling.joint import ClosedJoint
from pyro_vae.compiling.loss import CompiledLoss

Density = Callable[[dict[str, Tensor]], Tensor]


class CompiledDensity:
    """A log-density of latents by site, differentiable in them, as one graph.

    The model's handlers run when it is compiled, at its first call.

    Arguments:
        density: Of latents z by site, `[k, n, *event]`, the numbers `[k, n]`. Each depends on the z
            of its own place alone. The tensors that the function refers to are fixed.
        pair: The pair that it runs.
    """

    def __init__(self, density: Density, pair: nn.Module):
        self._names: list[str] = []

        def score(*values: Tensor) -> Tensor:
            return density(dict(zip(self._names, values, strict=True)))

        self._compiled = CompiledLoss(score, [pair], symbolic=False, make_joint=_Slopes)

    def __call__(self, z: dict[str, Tensor]) -> Tensor:
        self._names = list(z)
        found: Tensor = _Density.apply(self._compiled, *z.values())
        return found


class _Slopes(ClosedJoint):
    """What is compiled: a density, and the gradients of its sum."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        held, values = self.split(inputs)
        leaves = [value.detach().requires_grad_() for value in values]
        with torch.enable_grad():
            found: Any = self.run_graph([*held, *leaves])
            gradients = torch.autograd.grad(found.sum(), leaves, materialize_grads=True)
        return found.detach(), *gradients


class _Density(torch.autograd.Function):
    """A density whose gradients were computed with it."""

    @staticmethod
    def forward(ctx: Any, compiled: CompiledLoss, *values: Tensor) -> Tensor:
        found, *ctx.gradients = compiled(*[value.detach() for value in values])
        return found

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple:  # type: ignore[override]
        return None, *[_spread(scale, gradient) * gradient for gradient in ctx.gradients]


def _spread(scale: Tensor, like: Tensor) -> Tensor:
    return scale.reshape(scale.shape + (1,) * (like.dim() - scale.dim()))
