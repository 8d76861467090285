"""q* fitted to each datum: Adam on the ELBO, kept where it raised it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vae.arguments import check_positive, check_whole
from pyro_vae.conditionals import Conditional
from pyro_vae.diagnostics.local import LocalQ, OtherFamily, OwnFamily
from pyro_vae.weights.blocks import count_fitting, count_numbers
from pyro_vae.weights.weights import score_joint, score_marginals

GRADIENT = 4  # numbers that a step of Adam keeps for each number of a decoded draw
COMPARED = 1000  # draws for the ELBO before and after


class Search:
    """How q* is searched for: Adam on the ELBO, kept where it raised it.

    Arguments:
        family: Another family than the guide's, called with a number d, or None.
        num_steps: Steps of Adam. The learning rate falls to 0 along a cosine.
        num_particles: Draws of each datum at a step.
        learning_rate: Of Adam at the start.

    Raises:
        TypeError, ValueError: if one is no positive number, or the family cannot be called.
    """

    def __init__(
        self,
        family: Callable[[int], Conditional] | None,
        num_steps: int,
        num_particles: int,
        learning_rate: float,
    ):
        self.family = family
        self.num_steps = check_whole("num_steps", num_steps)
        self.num_particles = check_whole("num_particles", num_particles)
        self.learning_rate = check_positive("learning_rate", learning_rate)
        if family is not None and not callable(family):
            raise TypeError(
                "family: expected a class of families, pv.MultivariateNormal for one, got "
                f"{family!r}"
            )

    def count_rows(self, x: Tensor) -> int:
        """How many data are fitted at a time, by the numbers that a step of Adam keeps."""
        each = GRADIENT * count_numbers(x) * self.num_particles
        return count_fitting(each)

    def fit(self, pair: nn.Module, data: tuple, bar: tqdm) -> LocalQ:
        """Find q* of a block of data.

        It follows the gradient for all data at once, because their parameters are independent. A
        datum keeps its new parameters where their ELBO, on fresh draws, is above that of the old
        ones.

        Arguments:
            pair: The pair, run quietly. Its parameters do not change.
            data: The block.
            bar: The progress bar, which counts a step of each datum.
        """
        q = self._start(pair, data)
        before = _copy(q)
        self._ascend(q, pair, data, bar)
        _keep_better(q, pair, data, before)
        return q

    def _start(self, pair: nn.Module, data: tuple) -> LocalQ:
        if self.family is None:
            return OwnFamily(pair, data)
        return OtherFamily(pair, data, self.family)

    def _ascend(self, q: LocalQ, pair: nn.Module, data: tuple, bar: tqdm) -> None:
        tensors = [free.tensor for free in q.free]
        optimiser = torch.optim.Adam(tensors, lr=self.learning_rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.num_steps)
        for _ in range(self.num_steps):
            _set_gradients(q, pair, data, self.num_particles)
            optimiser.step()
            schedule.step()
            bar.update(data[0].shape[0])


def weigh_draws(q: LocalQ, pair: nn.Module, data: tuple, num_samples: int) -> Tensor:
    """log p(x, z) - log q(z) of draws of q*, `[k, n]`, in pieces, float64."""
    size = count_fitting(data[0].numel())
    pieces = [
        _weigh(q, pair, data, min(size, num_samples - first))
        for first in range(0, num_samples, size)
    ]
    return torch.cat(pieces).double()


def _weigh(q: LocalQ, pair: nn.Module, data: tuple, k: int) -> Tensor:
    """The same at once, differentiable in the free numbers of q*."""
    z, log_q = q.draw(k)
    if q.has_listed:
        log_joint, _ = score_marginals(pair, data, k, z)
        return log_joint - log_q

    log_likelihood, log_prior = score_joint(pair, data, k, z)
    return log_likelihood + log_prior - log_q


def _set_gradients(q: LocalQ, pair: nn.Module, data: tuple, num_particles: int) -> None:
    """The gradients of minus the ELBO, summed over the data. What is not finite counts as 0."""
    tensors = [free.tensor for free in q.free]
    with torch.enable_grad():
        loss = -_weigh(q, pair, data, num_particles).mean(0).sum()
        gradients = torch.autograd.grad(loss, tensors)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = gradient.nan_to_num(0.0, 0.0, 0.0)


def _keep_better(q: LocalQ, pair: nn.Module, data: tuple, before: list[Tensor]) -> None:
    """Take the old numbers back for the data whose ELBO the new ones did not raise."""
    after = _copy(q)
    at_end = weigh_draws(q, pair, data, COMPARED).mean(0)
    _assign(q, before)
    at_start = weigh_draws(q, pair, data, COMPARED).mean(0)

    is_better = (at_end > at_start) & at_end.isfinite()
    both = zip(q.free, before, after, strict=True)
    _assign(q, [free.select(is_better, old, new) for free, old, new in both])


def _copy(q: LocalQ) -> list[Tensor]:
    return [free.tensor.detach().clone() for free in q.free]


def _assign(q: LocalQ, values: list[Tensor]) -> None:
    for free, value in zip(q.free, values, strict=True):
        free.tensor.detach().copy_(value)
