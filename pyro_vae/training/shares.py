"""Steps that several processes take together, each on its share of a batch."""

import math

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from pyro_vae.objectives.compiled import Compiled
from pyro_vae.objectives.objective import Objective
from pyro_vae.processes import add_up, count_processes
from pyro_vae.training.noise import Noise
from pyro_vae.training.steps import Check, Step, Taken


class SharedStep(Step):
    """A step of all processes. Each has a share of the batch, and gradients are averaged.

    The mean is over all rows, so that shares need not be of one size, and may be empty. It is the
    gradient of the whole batch where the loss is a mean over the data.

    Arguments:
        objective, optimizer, precision, check: See `Step`.
        noise: The random draws of this process.
        is_compiled: Whether the objective runs compiled code.
    """

    def __init__(
        self,
        objective: nn.Module,
        optimizer: Optimizer,
        precision: str | None,
        check: Check,
        noise: Noise,
        is_compiled: bool,
    ):
        super().__init__(objective, optimizer, precision, check)
        self.noise = noise
        self.is_compiled = is_compiled
        # a batch may leave parameters unused, as one without labels does
        self.shared = DistributedDataParallel(
            _Share(objective), find_unused_parameters=True, gradient_as_bucket_view=True
        )

    def __call__(self, batch: tuple[Tensor, ...]) -> Taken:
        """Take the step. The loss is the mean over all shares."""
        rows = batch[0].shape[0]
        with self.noise.of_step(self.is_compiled):
            random_state = torch.get_rng_state()
            with self.autocast():
                loss = self.shared(*batch)

        total, all_rows = add_up(loss.item() * rows, rows)
        self.check(loss, batch, random_state)
        if not math.isfinite(total):
            raise FloatingPointError(
                "the loss of another process is not finite; that process says where and why"
            )
        # the processes' gradients are averaged, each with this weight
        self._descend(loss * (rows * count_processes() / all_rows))

        return Taken(loss.new_tensor(total / all_rows), int(all_rows))


class _Share(nn.Module):
    """The loss of a share of a batch. That of an empty share is 0, with gradients that are 0."""

    def __init__(self, objective: nn.Module):
        super().__init__()
        self.objective = objective
        # where no parameter is ever unused, torch warns that it need not look for any
        self.never_used = nn.Parameter(torch.zeros(()))

    def forward(self, *batch: Tensor) -> Tensor:
        if batch[0].shape[0]:
            return self.objective(*batch)
        trained = [p for p in self.objective.parameters() if p.requires_grad]
        return torch.stack([p.sum() for p in trained]).sum() * 0


def has_compiled(objective: nn.Module) -> bool:
    """Whether some part of an objective runs compiled code already."""
    inner = [module for module in objective.modules() if isinstance(module, Objective)]
    return any(part.is_compiled or isinstance(part.elbo, Compiled) for part in inner)
