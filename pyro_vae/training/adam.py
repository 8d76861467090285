"""Adam with less Python at a step."""

import torch
from torch import Tensor


class Adam(torch.optim.Adam):
    """torch's fused Adam on a CPU, with the same numbers and the same state.

    Before its fused step torch prepares for all that its Adam can do. With small networks that
    takes longer than the step. (Kingma & Ba, 2015)

    Arguments:
        parameters: The parameters.
        learning_rate: Its rate.

    Example:
        >>> p = torch.ones(3, requires_grad=True)
        >>> optimizer = Adam([p], 1e-3)
        >>> p.sum().backward()
        >>> optimizer.step()
        >>> p
        tensor([0.9990, 0.9990, 0.9990], requires_grad=True)
    """

    def __init__(self, parameters: list[Tensor], learning_rate: float):
        super().__init__(parameters, lr=learning_rate, fused=True)

    @torch.no_grad()
    def step(self, closure=None):
        """Take a step with all parameters that have a gradient."""
        learned = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if closure is not None or not all(map(self.state.get, learned)):
            return super().step(closure)
        for group in self.param_groups:
            self._step(group)
        return None

    def _step(self, group: dict) -> None:
        learned = [p for p in group["params"] if p.grad is not None]
        states = [self.state[p] for p in learned]
        steps = [state["step"] for state in states]
        beta1, beta2 = group["betas"]

        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            learned,
            [p.grad for p in learned],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
