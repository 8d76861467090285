"""Leapfrog steps along the path from q(z | x) to p(z | x), as they are or compiled."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.compiling.joint import ClosedJoint
from pyro_vae.compiling.loss import CompiledLoss

Score = Callable[[Tensor], tuple[Tensor, Tensor]]  # log q and log p, [k, n] each, at u


class State(NamedTuple):
    """Where the chains are, and what the densities and their gradients are there.

    Attributes:
        u: Unconstrained numbers, `[k, n, d]`.
        log_q: log q(z | x) + log|dz/du|, `[k, n]`.
        log_p: log p(x, z) + log|dz/du|, `[k, n]`.
        grad_q, grad_p: Their gradients in u, `[k, n, d]`.
    """

    u: Tensor
    log_q: Tensor
    log_p: Tensor
    grad_q: Tensor
    grad_p: Tensor

    def log_f(self, beta: float) -> Tensor:
        """The logarithm of q(z | x)^(1 - beta) p(x, z)^beta, as a density of u."""
        return (1 - beta) * self.log_q + beta * self.log_p

    def grad(self, beta: float | Tensor) -> Tensor:
        """The gradient of `log_f`."""
        return (1 - beta) * self.grad_q + beta * self.grad_p


def evaluate(score: Score, u: Tensor) -> State:
    """The densities and their gradients at u, `[k, n, d]`."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        log_q, log_p = score(u)
        (grad_q,) = torch.autograd.grad(log_q.sum(), u, retain_graph=True)
        (grad_p,) = torch.autograd.grad(log_p.sum(), u)

    return State(u.detach(), log_q.detach(), log_p.detach(), grad_q, grad_p)


def leap(
    score: Score,
    u: Tensor,
    velocity: Tensor,
    step: Tensor,
    beta: float | Tensor,
    kick: float | Tensor,
) -> tuple[State, Tensor]:
    """A leapfrog step: where the chains are after it, and their velocity.

    Arguments:
        score: log q and log p at unconstrained numbers.
        u: Where the chains are, `[k, n, d]`.
        velocity: Their velocity, `[k, n, d]`.
        step: The length of a step, `[k, n, d]`.
        beta: The temperature.
        kick: The share of the last kick: 1, or a half at the end of a trajectory.
    """
    state = evaluate(score, u + step * velocity)
    return state, velocity + kick * step * state.grad(beta)


class CompiledLeap:
    """`leap` as one graph: the model's handlers run when it is compiled, at its first call.

    Arguments:
        score: log q and log p at unconstrained numbers. The tensors that it refers to are fixed.
        pair: The pair that it runs.
    """

    def __init__(self, score: Score, pair: nn.Module):
        def score_first(u: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
            return score(u)

        self.compiled = CompiledLoss(score_first, [pair], symbolic=False, make_joint=_Leap)

    def __call__(
        self, u: Tensor, velocity: Tensor, step: Tensor, beta: float, kick: float
    ) -> tuple[State, Tensor]:
        numbers = (u.new_tensor(beta), u.new_tensor(kick))
        *state, velocity = self.compiled(u, velocity, step, *numbers)
        return State(*state), velocity


class _Leap(ClosedJoint):
    """What is compiled: `leap`, of the graph of log q and log p."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        held, (u, *others) = self.split(inputs)

        def score(u: Tensor) -> tuple[Tensor, Tensor]:
            log_q, log_p = self.run_graph([*held, u, *others])
            return log_q, log_p

        state, velocity = leap(score, u, *others)
        return *state, velocity
