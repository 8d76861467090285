"""Hamiltonian Monte Carlo along the path from q(z | x) to p(z | x)."""

import math
from functools import partial
from typing import NamedTuple

import torch
from pyro.poutine import Trace
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vae.diagnostics.leapfrog import CompiledLeap, State, evaluate, leap
from pyro_vae.diagnostics.unconstrained import Unconstrained, choose_support, refuse_masked
from pyro_vae.weights.traces import (
    drawn_sites,
    latent_sites,
    latent_values,
    log_prob,
    quietly,
    trace,
)
from pyro_vae.weights.weights import score_joint, score_marginals, sum_latent, weigh

TARGET = 0.65  # acceptance rate of the transitions
DIVERGENT = 1000.0  # nats of energy that a trajectory may lose
FIRST_SIZE = 0.3  # step size at the first temperature, in standard deviations of q
JITTER = (0.8, 0.4)  # a step is between 0.8 and 1.2 of its size


class Path:
    """The densities between q(z | x) and p(x, z) for a block of data, on unconstrained numbers.

    Arguments:
        pair: The pair.
        data: The block, as `admit` gives it.
        num_chains: k, chains for each datum.

    Attributes:
        scale: The spread of q in each dimension, `[n, d]`, so that one step size serves them all.
        leap: A leapfrog step.
    """

    def __init__(self, pair: nn.Module, data: tuple, num_chains: int, *, compile: bool = False):
        self.pair = pair
        self.data = data
        self.num_chains = num_chains
        with quietly(pair):
            run = trace(pair.guide, data, draws=64)
            self._has_listed = len(drawn_sites(run)) < len(latent_sites(run))
            z = self._find_moving(run)
            _refuse_none(z)
            self.vectors = Unconstrained(z, self._find_supports(run), "log_evidence")
            u = self.vectors.flatten(z)
            self._fixed = self._fix_variational(len(z))
        self.scale = u.std(0).clamp(min=1e-6)
        self.leap = CompiledLeap(self.score, pair) if compile else partial(leap, self.score)

    def start(self) -> State:
        """Chains at draws of q(z | x)."""
        with quietly(self.pair):
            z = self._find_moving(trace(self.pair.guide, self.data, draws=self.num_chains))
            u = self.vectors.flatten(z)
        return self.evaluate(u)

    def place(self, z: dict[str, Tensor]) -> State:
        """All chains of a datum at the same z, `[n, *event]`."""
        z = {name: value.expand(self.num_chains, *value.shape) for name, value in z.items()}
        with quietly(self.pair):
            u = self.vectors.flatten(z)
        return self.evaluate(u)

    def evaluate(self, u: Tensor) -> State:
        """The densities and their gradients at u, `[k, n, d]`."""
        with quietly(self.pair):
            return evaluate(self.score, u)

    def score(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log q(z | x) and log p(x, z) as densities of u, `[k, n]` each."""
        z, log_jacobian = self.vectors.unflatten(u)
        log_p, log_q = self._score(z)
        return log_q + log_jacobian, log_p + log_jacobian

    def find_latents(self, state: State) -> dict[str, Tensor]:
        """The latents z by site, `[k, n, *event]`."""
        z, _ = self.vectors.unflatten(state.u)
        return z

    def _find_moving(self, run: Trace) -> dict[str, Tensor]:
        """The latents that move, by site: all that are not listed."""
        return {name: site["value"] for name, site in drawn_sites(run).items()}

    def _find_supports(self, run: Trace) -> dict:
        first = {name: value[0] for name, value in latent_values(run).items()}
        ours = latent_sites(trace(self.pair.model, self.data, latents=first))
        theirs = latent_sites(run)
        refuse_masked(ours, theirs)

        return {name: choose_support(name, ours[name]["fn"], theirs[name]["fn"]) for name in ours}

    def _score(self, z: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """log p(x, z) and log q(z | x), `[k, n]` each, with listed latents summed over."""
        if self._has_listed:
            return score_marginals(self.pair, self.data, self.num_chains, z)

        log_likelihood, log_prior = score_joint(self.pair, self.data, self.num_chains, z)
        return log_likelihood + log_prior, self._score_variational(z)

    def _fix_variational(self, count: int) -> dict[str, dict] | None:
        """The site of q, where there is only one: it stays as it is while z moves.

        With several sites one may depend on the draw of another. The guide is then run again for
        each z.
        """
        if count > 1 or self._has_listed:
            return None

        sites = latent_sites(trace(self.pair.guide, self.data, draws=self.num_chains))
        weigh(self.pair, self.data, 1)  # refuses wrong shapes, which are not looked at again
        return sites

    def _score_variational(self, z: dict[str, Tensor]) -> Tensor:
        """log q(z | x), `[k, n]`."""
        if self._fixed is None:
            shape = (self.num_chains, self.data[0].shape[0])
            run = trace(self.pair.guide, self.data, draws=self.num_chains, latents=z)
            return sum_latent(run, shape, self.data[0])

        ((name, site),) = self._fixed.items()
        return log_prob({**site, "value": z[name]})


def _refuse_none(z: dict[str, Tensor]) -> None:
    """Refuse a pair without a latent that moves."""
    if not z:
        raise ValueError(
            "every latent is listed, so nothing is left to move; log_evidence sums over all values "
            "and is exact"
        )


class Move(NamedTuple):
    """What a transition did.

    Attributes:
        state: Where the chains are now.
        probability: The probability with which each trajectory is accepted, `[k, n]`.
        divergent: 1 where a trajectory diverged, else 0, `[k, n]`.
    """

    state: State
    probability: Tensor
    divergent: Tensor


class Sampler:
    """Hamiltonian transitions of all chains at once.

    Arguments:
        path: The densities.
        num_leapfrog: Leapfrog steps of each trajectory.
        bar: The progress bar, which counts a transition of each datum.
    """

    def __init__(self, path: Path, num_leapfrog: int, bar: tqdm):
        self.path = path
        self.num_leapfrog = num_leapfrog
        self.bar = bar

    def move(self, state: State, beta: float, sizes: Tensor) -> Move:
        """One Hamiltonian trajectory of each chain. It leaves the density at beta as it is.

        A trajectory that loses more energy than `DIVERGENT` nats has diverged. It is rejected.

        Arguments:
            state: Where the chains are.
            beta: The temperature.
            sizes: The step size of each datum, `[n]`, in standard deviations of q.
        """
        step = self._draw_step(state, sizes)
        velocity = torch.randn_like(state.u)
        energy = _sum_energy(state, velocity, beta)

        end, velocity = self._follow(state, velocity, step, beta)
        loss = _sum_energy(end, velocity, beta) - energy
        loss = torch.where(loss.isfinite(), loss, torch.full_like(loss, math.inf))
        probability = (-loss).clamp(max=0).exp()
        is_accepted = torch.rand_like(probability) < probability

        self.bar.update(state.u.shape[1])
        return Move(
            state=_choose(is_accepted, end, state),
            probability=probability.double(),
            divergent=(loss > DIVERGENT).double(),
        )

    def _draw_step(self, state: State, sizes: Tensor) -> Tensor:
        """The step of each chain and dimension, `[k, n, d]`.

        It is jittered, so that no trajectory comes back to where it started.
        """
        low, width = JITTER
        u = state.u
        jitter = low + width * torch.rand(u.shape[:2], dtype=u.dtype, device=u.device)
        return (sizes * jitter).unsqueeze(-1) * self.path.scale

    def _follow(
        self, state: State, velocity: Tensor, step: Tensor, beta: float
    ) -> tuple[State, Tensor]:
        """The end of a trajectory by leapfrog steps, with half a kick first and last."""
        velocity = velocity + 0.5 * step * state.grad(beta)
        with quietly(self.path.pair):
            for i in range(self.num_leapfrog):
                kick = 0.5 if i == self.num_leapfrog - 1 else 1.0
                state, velocity = self.path.leap(state.u, velocity, step, beta, kick)
        return state, velocity


def _sum_energy(state: State, velocity: Tensor, beta: float) -> Tensor:
    """Kinetic and potential energy, `[k, n]`."""
    return 0.5 * velocity.square().sum(-1) - state.log_f(beta)


def _choose(is_accepted: Tensor, new: State, old: State) -> State:
    """The new state of the chains that are accepted, the old one of the others."""
    chosen = []
    for after, before in zip(new, old, strict=True):
        extra = (1,) * (after.dim() - 2)
        chosen.append(torch.where(is_accepted.reshape(is_accepted.shape + extra), after, before))
    return State(*chosen)


def find_step_sizes(sampler: Sampler, betas: Tensor) -> Tensor:
    """Step sizes from a pilot run, one for each temperature after the first and each datum.

    After each transition the step size grows where more than 65 % of the chains were accepted, and
    shrinks where fewer were. The pilot run counts for nothing else, because a step size that
    depends on the chains it moves would bias them.

    Arguments:
        sampler: The transitions.
        betas: The temperatures, `[num_steps + 1]`.

    Returns:
        `[num_steps, n]`.
    """
    state = sampler.path.start()
    size = torch.full_like(state.u[0, :, 0], FIRST_SIZE)

    sizes = []
    for beta in betas[1:].tolist():
        sizes.append(size)
        state, probability, _ = sampler.move(state, beta, size)
        size = (size * (probability.mean(0) - TARGET).exp()).to(size.dtype)
    return torch.stack(sizes)
