"""q* fitted to each datum: Adam on the ELBO, kept where it raised it."""

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vae.diagnostics.local import LocalQ
from pyro_vae.weights.blocks import count_fitting
from pyro_vae.weights.weights import score_joint

COMPARED = 1000  # draws for the ELBO before and after


def refit(
    q: LocalQ,
    pair: nn.Module,
    data: tuple,
    *,
    num_steps: int,
    num_particles: int,
    learning_rate: float,
    bar: tqdm,
) -> None:
    """Follow the gradient of the ELBO, for all data at once, whose parameters are independent.

    A datum keeps its new parameters where their ELBO, on fresh draws, is above that of the old
    ones.

    Arguments:
        q: q*, which is changed in place.
        pair: The pair, run quietly. Its parameters do not change.
        data: The block.
        num_steps: Steps of Adam. The learning rate falls to 0 along a cosine.
        num_particles: Draws of each datum at a step.
        learning_rate: Of Adam at the start.
        bar: The progress bar, which counts a step of each datum.
    """
    tensors = [free.tensor for free in q.free]
    optimiser = torch.optim.Adam(tensors, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)

    before = _copy(tensors)
    for _ in range(num_steps):
        _set_gradients(q, pair, data, num_particles)
        optimiser.step()
        schedule.step()
        bar.update(data[0].shape[0])

    _keep_better(q, pair, data, before)


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
    tensors = [free.tensor for free in q.free]
    after = _copy(tensors)
    at_end = weigh_draws(q, pair, data, COMPARED).mean(0)
    _assign(tensors, before)
    at_start = weigh_draws(q, pair, data, COMPARED).mean(0)

    is_better = at_end > at_start
    rows = zip(q.free, before, after, strict=True)
    _assign(tensors, [free.select(is_better, old, new) for free, old, new in rows])


def _copy(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def _assign(tensors: list[Tensor], values: list[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.detach().copy_(value)
