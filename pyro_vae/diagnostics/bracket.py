"""log p(x) from below and from above, on data simulated from the model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_whole
from pyro_vae.diagnostics.annealing import Chains, climb
from pyro_vae.diagnostics.estimate import Estimate, average_data, join_blocks, subtract
from pyro_vae.diagnostics.evidence import estimate_evidence
from pyro_vae.diagnostics.hmc import Sampler, State, find_step_sizes
from pyro_vae.diagnostics.templates import Simulated, simulate_data
from pyro_vae.progress import progress_bar
from pyro_vae.weights.draws import make_template
from pyro_vae.weights.intake import find_device, refuse_pair
from pyro_vae.weights.threads import sparing_threads

CLEAR = 4  # standard errors of the mean distance that are no chance
CLOSE = 0.1  # nats between the two sides that are no matter


@dataclass(frozen=True)
class Bracket:
    """log p(x) of simulated x, from below and from above, per datum, `[n]`, in nats.

    Attributes:
        lower: From forward chains, which start at q(z | x): a lower bound in expectation.
        upper: From reverse chains, which start at the z that x was drawn with: an upper bound in
            expectation.
        x: The simulated data, `[n, *event]`.
    """

    lower: Estimate
    upper: Estimate
    x: Tensor

    @property
    def distance(self) -> Estimate:
        """Upper less lower, `[n]`."""
        return subtract(self.upper, self.lower)

    def warnings(self) -> list[str]:
        """Why the numbers are not to be trusted. It is empty if nothing speaks against them."""
        mean = average_data(self.distance)
        if mean.value <= max(CLEAR * mean.stderr, CLOSE):
            return []
        return [
            f"the two sides are {mean.value:.2f} ± {mean.stderr:.2f} nats apart in the mean: too "
            "few steps, num_steps=, or the chains from q(z|x) do not reach every mode of p(z|x)"
        ]


@sparing_threads("num_chains", "num_steps", "num_leapfrog")
def bracket(
    pair: nn.Module,
    *data: Tensor | int,
    num_steps: int = 100,
    num_chains: int = 10,
    num_leapfrog: int = 10,
    compile: bool = False,
    progress: bool = True,
) -> Bracket:
    r"""log p(x) from both sides, on data simulated from the model (bidirectional Monte Carlo).

    .. math:: E[\log \hat p(x)] \le \log p(x) \le E[-\log \hat r(x)], \qquad
        E[\hat p(x)] = p(x), \quad E[\hat r(x)] = 1 / p(x)

    Of simulated data one exact draw z of p(z | x) is known, the one that x was drawn with. Chains
    that anneal from it down to q(z | x) give r, an estimate of 1 / p(x) without bias. So with the
    forward chains they enclose log p(x), and their distance bounds the error of both in
    expectation. (Grosse, Ghahramani & Adams, 2015)

    Arguments:
        pair: The pair.
        data: How many to simulate, or a template of x of as many rows, and what else the model
            takes. See `simulate`.
        num_steps, num_chains, num_leapfrog, compile, progress: As for `annealed_log_evidence`.

    Returns:
        A `Bracket`.

    Raises:
        TypeError, ValueError: as `annealed_log_evidence`; and if the model observes something else
            than its arguments and views of them.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> bracket(vae, 5, num_steps=5, num_chains=4).distance.value.shape
        torch.Size([5])
    """
    chains = Chains(num_steps, num_chains, num_leapfrog, compile=compile)
    simulated = _simulate(pair, data)
    x, z = simulated.data[0], simulated.latents

    lower, upper = [], []
    with progress_bar(3 * chains.num_steps * len(x), "bracketing", show=progress) as bar:
        for rows, sampler in chains.cut(pair, simulated.data, bar):
            sizes = find_step_sizes(sampler, chains.betas)
            found, _ = climb(sampler, chains.betas, sizes)
            lower.append(found.evidence)
            exact = sampler.path.place({name: value[rows] for name, value in z.items()})
            upper.append(_descend(sampler, chains.betas, sizes, exact))

    below = join_blocks(lower)

    return Bracket(
        lower=Estimate(value=below.value, stderr=below.stderr),
        upper=join_blocks(upper),
        x=x,
    )


def _simulate(pair: nn.Module, data: tuple) -> Simulated:
    """Simulated data, and the latents by site that they were drawn with."""
    x, *rest = data
    if not isinstance(x, Tensor):
        x = make_template(pair, check_whole("data", x))
    device = find_device(pair, x.device)
    simulated = simulate_data(pair, tuple(d.to(device) for d in (x, *rest)))
    refuse_pair(pair, simulated.data)
    return simulated


def _descend(sampler: Sampler, betas: Tensor, sizes: Tensor, state: State) -> Estimate:
    """Run the chains of a block from an exact draw of p(z | x) down to q(z | x).

    Arguments:
        sampler: The transitions.
        betas: The temperatures, `[num_steps + 1]`.
        sizes: Step sizes, `[num_steps, n]`, as the forward chains have them.
        state: All chains at the exact draw.

    Returns:
        An upper bound on log p(x) in expectation, `[n]`.
    """
    log_weights = torch.zeros_like(state.log_p, dtype=torch.float64)
    steps = list(zip(betas.diff(), betas[1:].tolist(), sizes, strict=True))
    for increment, beta, size in reversed(steps):
        state, _, _ = sampler.move(state, beta, size)
        log_weights = log_weights - increment * (state.log_p - state.log_q).double()

    inverse = estimate_evidence(log_weights)
    return Estimate(value=-inverse.value, stderr=inverse.stderr)
