"""log p(x) and the true posterior p(z | x) by annealing from q(z | x) to p(z | x)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyro_vae.arguments import check_flag, check_whole
from pyro_vae.diagnostics.estimate import Estimate, join_blocks
from pyro_vae.diagnostics.evidence import Evidence, estimate_evidence
from pyro_vae.diagnostics.hmc import Path, Sampler, State, find_step_sizes
from pyro_vae.diagnostics.shares import measure_shares
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut, even_out
from pyro_vae.weights.intake import admit
from pyro_vae.weights.threads import sparing_threads

WIDTH = 4.0  # the schedule of temperatures follows a sigmoid from -4 to 4

Ends = tuple["Climb", dict[str, Tensor]]  # what chains found, and their latents in the end


@dataclass(frozen=True)
class Annealed(Estimate):
    """An estimate of log p(x) per datum, `[n]`, in nats, with weighted draws of p(z | x).

    Attributes:
        value: The estimate. In expectation it is a lower bound.
        stderr: Its Monte Carlo standard error.
        ess: The effective number of chains, between 1 and k.
        acceptance: The share of accepted trajectories. It is near 0.65 when the step sizes fit.
        divergent: The share of trajectories that diverged. They are rejected, but speak against the
            rest.
        z: Draws of p(z | x) by site, `[k, n, *event]`, to be weighted.
        log_weights: Their logarithmic weights, `[k, n]`. `softmax(0)` normalises them.
        betas: The temperatures, `[num_steps + 1]`, from 0, which is q(z | x), to 1, which is
            p(x, z).
        path: log of the integral of q(z | x)^(1 - beta) p(x, z)^beta at each temperature,
            `[num_steps + 1, n]`.
    """

    ess: Tensor
    acceptance: Tensor
    divergent: Tensor
    z: dict[str, Tensor]
    log_weights: Tensor
    betas: Tensor
    path: Estimate

    def warnings(self) -> list[str]:
        """Why the numbers are not to be trusted. It is empty if nothing speaks against them."""
        return [said for _, said in self.doubts()]

    def doubts(self) -> list[tuple[float, str]]:
        """The warnings, each with the share of the data that it is of."""
        doubts = {
            "fewer than 30 % of the trajectories were accepted": self.acceptance < 0.3,
            "more than 10 % of the trajectories diverged": self.divergent > 0.1,
            "the standard error is above a nat": self.stderr > 1,
            "fewer than a third of the chains are effective": self.ess < len(self.log_weights) / 3,
        }
        shares = {what: _share(where) for what, where in doubts.items() if where.any()}
        return [
            (share, f"{what} for {100 * share:.3g} % of the data: take more steps, num_steps=")
            for what, share in shares.items()
        ]


def _share(where: Tensor) -> float:
    return where.double().mean().item()


@sparing_threads("num_chains", "num_steps", "num_leapfrog")
def annealed_log_evidence(
    pair: nn.Module,
    *data: Tensor,
    num_steps: int = 100,
    num_chains: int = 10,
    num_leapfrog: int = 10,
    compile: bool = False,
    progress: bool = True,
) -> Annealed:
    r"""log p(x) by annealed importance sampling along the geometric path.

    .. math:: f_\beta(z) = q(z|x)^{1-\beta} \, p(x, z)^\beta, \qquad
        \log w = \sum_t (\beta_t - \beta_{t-1}) \, (\log p(x, z_{t-1}) - \log q(z_{t-1}|x))

    The transitions are Hamiltonian. The step size of each datum at each temperature is adapted in a
    pilot run and then frozen, because adapting it in the run that counts would bias it. Constrained
    latents move through their bijections.

    The chains start at q. If they never reach a mode of p(z | x) that q has missed, then nothing in
    an `Annealed` shows it. `bracket` also starts at draws of the model.

    (Neal, 2001; Grosse, Ghahramani & Adams, 2015; Wu, Burda, Salakhutdinov & Grosse, 2017)

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_steps: Temperatures after the first, on a sigmoid schedule. Each costs `num_leapfrog`
            gradients, twice.
        num_chains: k, chains for each datum.
        num_leapfrog: Leapfrog steps of each trajectory.
        compile: Compile a leapfrog step. That pays from half a minute of work on.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        An `Annealed`.

    Raises:
        TypeError, ValueError: as `log_weights`; and if a latent is discrete, or its support has no
            bijection to the reals, with the estimator to use instead.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> annealed_log_evidence(vae, torch.ones(5, 3), num_steps=5, num_chains=4).value.shape
        torch.Size([5])
    """
    chains = Chains(num_steps, num_chains, num_leapfrog, compile=compile)

    def measure(rows: tuple) -> Ends:
        rows = admit(pair, rows)
        total = 2 * chains.num_steps * rows[0].shape[0]
        with progress_bar(total, "annealing", show=progress) as bar:
            return _join_ends([_climb_all(s, chains.betas) for _, s in chains.cut(pair, rows, bar)])

    found, z = measure_shares(measure, data, _join_ends)

    return Annealed(
        value=found.evidence.value,
        stderr=found.evidence.stderr,
        ess=found.evidence.ess,
        acceptance=found.acceptance,
        divergent=found.divergent,
        z=z,
        log_weights=found.log_weights,
        betas=chains.betas,
        path=found.path,
    )


def _climb_all(sampler: Sampler, betas: Tensor) -> Ends:
    """Find the step sizes of a block of data, and run its chains."""
    found, state = climb(sampler, betas, find_step_sizes(sampler, betas))
    return found, sampler.path.find_latents(state)


def _join_ends(blocks: Sequence[Ends]) -> Ends:
    climbs, latents = zip(*blocks, strict=True)
    return join_blocks(climbs), _join_latents(latents)


def _join_latents(blocks: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The latents of blocks of data by site, `[k, n, *event]`."""
    return {name: torch.cat([z[name] for z in blocks], dim=1) for name in blocks[0]}


class Chains:
    """How chains run: how many, along which temperatures, with which trajectories.

    Arguments:
        num_steps: Temperatures after the first.
        num_chains: Chains for each datum.
        num_leapfrog: Leapfrog steps of each trajectory.
        compile: Compile a leapfrog step.

    Raises:
        TypeError, ValueError: if one is no positive whole number.
    """

    def __init__(
        self, num_steps: int, num_chains: int, num_leapfrog: int, *, compile: bool = False
    ):
        self.num_steps = check_whole("num_steps", num_steps)
        self.num_chains = check_whole("num_chains", num_chains)
        self.num_leapfrog = check_whole("num_leapfrog", num_leapfrog)
        self.compile = check_flag("compile", compile)
        self.betas = space_temperatures(self.num_steps)

    def cut(self, pair: nn.Module, data: tuple, bar: tqdm) -> Iterator[tuple[slice, Sampler]]:
        """Data in blocks that fit memory: where each block lies, and what moves its chains."""
        fitting = count_fitting(self.num_chains * count_numbers(data[0]))
        for here, block in cut(data, even_out(data[0].shape[0], fitting)):
            path = Path(pair, block, self.num_chains, compile=self.compile)
            yield here, Sampler(path, self.num_leapfrog, bar)


def space_temperatures(num_steps: int) -> Tensor:
    """Temperatures from 0 to 1 along a sigmoid, so that the steps are small at both ends.

    Example:
        >>> [round(beta, 2) for beta in space_temperatures(4).tolist()]
        [0.0, 0.1, 0.5, 0.9, 1.0]
    """
    s = torch.linspace(-WIDTH, WIDTH, num_steps + 1, dtype=torch.float64).sigmoid()
    return (s - s[0]) / (s[-1] - s[0])


@dataclass(frozen=True)
class Climb:
    """What chains found on the way up, for a block of data. The fields are those of `Annealed`."""

    evidence: Evidence
    acceptance: Tensor
    divergent: Tensor
    log_weights: Tensor
    path: Estimate


def climb(sampler: Sampler, betas: Tensor, sizes: Tensor) -> tuple[Climb, State]:
    """Run the chains of a block from draws of q(z | x) up to p(z | x), and weigh them.

    Arguments:
        sampler: The transitions.
        betas: The temperatures, `[num_steps + 1]`.
        sizes: Step sizes, `[num_steps, n]`, as `find_step_sizes` finds them.

    Returns:
        What they found, and where they are in the end.
    """
    state = sampler.path.start()
    log_weights = torch.zeros_like(state.log_p, dtype=torch.float64)
    accepted, divergent = torch.zeros_like(log_weights), torch.zeros_like(log_weights)

    path = [estimate_evidence(log_weights)]
    for increment, beta, size in zip(betas.diff(), betas[1:].tolist(), sizes, strict=True):
        log_weights = log_weights + increment * (state.log_p - state.log_q).double()
        path.append(estimate_evidence(log_weights))
        state, probability, is_lost = sampler.move(state, beta, size)
        accepted = accepted + probability
        divergent = divergent + is_lost

    found = Climb(
        evidence=path[-1],
        acceptance=(accepted / len(sizes)).mean(0),
        divergent=(divergent / len(sizes)).mean(0),
        log_weights=log_weights,
        path=_stack(path),
    )
    return found, state


def _stack(estimates: Sequence[Estimate]) -> Estimate:
    """Estimates `[n]` as one, `[len(estimates), n]`."""
    return Estimate(
        value=torch.stack([estimate.value for estimate in estimates]),
        stderr=torch.stack([estimate.stderr for estimate in estimates]),
    )
