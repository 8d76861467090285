"""q* fitted to each datum: from a normal on by Adam on the ELBO, until that rises no more."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vae.arguments import check_flag, check_positive, check_whole
from pyro_vae.conditionals import Conditional
from pyro_vae.diagnostics.density import CompiledDensity, Density
from pyro_vae.diagnostics.estimate import Estimate, average_draws
from pyro_vae.diagnostics.local import LocalQ, OtherFamily, OwnFamily
from pyro_vae.diagnostics.normal_fit import fit_normal
from pyro_vae.weights.blocks import count_fitting, count_numbers
from pyro_vae.weights.weights import score_joint, score_marginals

GRADIENT = 4  # numbers that a step of Adam keeps for each number of a decoded draw
COMPARED = 300  # draws for the rise of the ELBO, of the same noise before and after
ROUND = 100  # steps of Adam in a round
ERRORS = 4  # standard errors, above which the ELBO moved
NOISY = 0.03  # nats, an error of the rise above which q moved far
SETTLED = 0.01  # nats, below which it did not
SLOWER = 8  # times shorter are the steps of a datum whose ELBO a round lowered
SLOWEST = 0.9  # of a rise the largest share that the next one is thought to have


class Refit(NamedTuple):
    """What a search found.

    Attributes:
        q: q*, with parameters for each datum.
        left: By how much the ELBO of each datum may still rise, `[n]`, in nats. It is 0 where the
            last steps did not move it.
    """

    q: LocalQ
    left: Tensor


class Search:
    """How q* is searched for: a normal fitted by gradients, then rounds of Adam on the ELBO.

    Arguments:
        family: Another family than the guide's, called with a number d, or None.
        num_steps: Steps of Adam at most. In each round the learning rate falls to 0 along a cosine.
        num_particles: Draws of each datum at a step.
        learning_rate: Of Adam at the start of a round.
        compile: Compile log p(x, z) and its gradient in z for the steps of Adam.

    Raises:
        TypeError, ValueError: if one is no positive number, or the family cannot be called.
    """

    def __init__(
        self,
        family: Callable[[int], Conditional] | None,
        num_steps: int,
        num_particles: int,
        learning_rate: float,
        *,
        compile: bool = False,
    ):
        self.compile = check_flag("compile", compile)
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

    def fit(self, pair: nn.Module, data: tuple, bar: tqdm) -> Refit:
        """Find q* of a block of data.

        It follows the gradient for all data at once, because their parameters are independent.
        After a round a datum keeps its new parameters where their ELBO, on fresh draws, is above
        that of the old ones by more than its error or 0.01 nats. The rounds end when no ELBO moves
        any more, or with the steps.

        Arguments:
            pair: The pair, run quietly. Its parameters do not change.
            data: The block.
            bar: The progress bar, which counts a step of each datum.
        """
        q = self._start(pair, data)
        density = self._make_density(q, pair, data)
        pace = torch.ones(data[0].shape[0], device=data[0].device)
        rises: list[Estimate] = []
        steps = [ROUND] * (self.num_steps // ROUND) + [self.num_steps % ROUND or ROUND]
        while sum(steps[: len(rises)]) < self.num_steps:
            rises.append(self._try_round(q, pair, data, density, steps[len(rises)], pace, bar))
            is_settled = _is_settled(rises[-1])
            if is_settled.all():
                break
            pace = torch.where(is_settled | (rises[-1].value > 0), pace, pace / SLOWER)

        skipped = self.num_steps - sum(steps[: len(rises)])
        if skipped > 0:
            bar.update(data[0].shape[0] * skipped)
        return Refit(q, _extrapolate(rises))

    def _start(self, pair: nn.Module, data: tuple) -> LocalQ:
        """The guide's q, or another family at its moments, and a normal where that is better."""
        q = OwnFamily(pair, data) if self.family is None else OtherFamily(pair, data, self.family)
        moments = q.find_moments()
        if moments is None:
            return q

        def score(u: Tensor) -> Tensor:
            z, log_jacobian = q.place(u)
            return _score_latents(pair, data, len(u), z, q.has_listed) + log_jacobian

        normals = fit_normal(score, *moments)
        started = q.start_at(normals, torch.ones_like(normals.mean[:, 0], dtype=torch.bool))
        seed = _draw_seed()
        new, old = (_weigh_alike(one, pair, data, seed).mean(0) for one in (started, q))
        return q.start_at(normals, new.isfinite() & ((new > old) | ~old.isfinite()))

    def _make_density(self, q: LocalQ, pair: nn.Module, data: tuple) -> Density:
        """log p(x, z) of latents z by site, `[num_particles, n, *event]`."""

        def density(z: dict[str, Tensor]) -> Tensor:
            return _score_latents(pair, data, self.num_particles, z, q.has_listed)

        return CompiledDensity(density, pair) if self.compile else density

    def _try_round(
        self,
        q: LocalQ,
        pair: nn.Module,
        data: tuple,
        density: Density,
        num_steps: int,
        pace: Tensor,
        bar: tqdm,
    ) -> Estimate:
        """Climb, and go back where that did not help: by how much the ELBO rose, `[n]`."""
        before = _copy(q)
        self._ascend(q, density, num_steps, pace, bar)
        after, seed = _copy(q), _draw_seed()
        new = _weigh_alike(q, pair, data, seed)
        _assign(q, before)
        old = _weigh_alike(q, pair, data, seed)
        rise = average_draws(new - old)

        is_better = (rise.value > rise.stderr.clamp(max=SETTLED)) | ~old.mean(0).isfinite()
        is_better &= new.mean(0).isfinite()
        both = zip(q.free, before, after, strict=True)
        _assign(q, [free.select(is_better, first, last) for free, first, last in both])
        return rise

    def _ascend(
        self,
        q: LocalQ,
        density: Density,
        num_steps: int,
        pace: Tensor,
        bar: tqdm,
    ) -> None:
        """Steps of Adam, of each datum at its pace, `[n]`."""
        tensors = [free.tensor for free in q.free]
        optimiser = torch.optim.Adam(tensors, lr=self.learning_rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)
        for _ in range(num_steps):
            before = _copy(q)
            _set_gradients(q, density, self.num_particles)
            optimiser.step()
            schedule.step()
            both = zip(q.free, before, _copy(q), strict=True)
            _assign(q, [old + free.spread(pace) * (new - old) for free, old, new in both])
            bar.update(len(pace))


def _is_settled(rise: Estimate) -> Tensor:
    """Where a round did not move the ELBO, up or down, by more than its small error, `[n]`."""
    is_still = rise.value.abs() <= (ERRORS * rise.stderr).clamp(min=SETTLED)
    return is_still & (rise.stderr <= NOISY)


def _extrapolate(rises: list[Estimate]) -> Tensor:
    """By how much the ELBO may still rise, `[n]`, from its rises in rounds.

    If each rise is a share r of the one before, then all that are to come are r / (1 - r) of the
    last. At least it is the last one itself, and what the last one could not see for its error.
    """
    last = rises[-1].value.abs()
    before = rises[-2].value if len(rises) > 1 else last
    share = (rises[-1].value / before).nan_to_num(1.0).clamp(0.0, SLOWEST)
    left = torch.maximum(last * (share / (1 - share)).clamp(min=1), ERRORS * rises[-1].stderr)
    left = left.nan_to_num(torch.inf)
    return torch.where(_is_settled(rises[-1]), 0.0, left)


def weigh_draws(q: LocalQ, pair: nn.Module, data: tuple, num_samples: int) -> Tensor:
    """log p(x, z) - log q(z) of draws of q*, `[k, n]`, in pieces, float64."""
    size = count_fitting(data[0].numel())
    pieces = [
        _weigh(q, pair, data, min(size, num_samples - first))
        for first in range(0, num_samples, size)
    ]
    return torch.cat(pieces).double()


def _weigh(q: LocalQ, pair: nn.Module, data: tuple, k: int) -> Tensor:
    """The same at once."""
    z, log_q = q.draw(k)
    return _score_latents(pair, data, k, z, q.has_listed) - log_q


def _score_latents(
    pair: nn.Module, data: tuple, k: int, z: dict[str, Tensor], has_listed: bool
) -> Tensor:
    """log p(x, z), `[k, n]`, with listed latents summed over."""
    if has_listed:
        return score_marginals(pair, data, k, z)[0]

    log_likelihood, log_prior = score_joint(pair, data, k, z)
    return log_likelihood + log_prior


def _set_gradients(q: LocalQ, density: Density, num_particles: int) -> None:
    """The gradients of minus the ELBO, summed over the data. What is not finite counts as 0."""
    tensors = [free.tensor for free in q.free]
    with torch.enable_grad():
        z, log_q = q.draw(num_particles, mirrored=True)
        loss = (log_q - density(z)).mean(0).sum()
        gradients = torch.autograd.grad(loss, tensors)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = gradient.nan_to_num(0.0, 0.0, 0.0)


def _draw_seed() -> int:
    return int(torch.randint(2**31, ()))


def _weigh_alike(q: LocalQ, pair: nn.Module, data: tuple, seed: int) -> Tensor:
    """log p(x, z) - log q(z), `[k, n]`, of draws that are made of the same noise for any q."""
    devices = [data[0].device] if data[0].is_cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        return weigh_draws(q, pair, data, COMPARED)


def _copy(q: LocalQ) -> list[Tensor]:
    return [free.tensor.detach().clone() for free in q.free]


def _assign(q: LocalQ, values: list[Tensor]) -> None:
    for free, value in zip(q.free, values, strict=True):
        free.tensor.detach().copy_(value)
