"""log p(x) and the true posterior by annealing from q(z | x) to p(z | x), and a bracket around log p(x)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Transform, biject_to, constraints

from pyro_vae.diagnostics.evidence import evidence_of
from pyro_vae.progress import progress_bar
from pyro_vae.supports import describe
from pyro_vae.weights.blocks import KEPT
from pyro_vae.weights.draws import simulate
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.traces import latent_values, log_prob, quietly, sample_sites, trace
from pyro_vae.weights.weights import score_joint, weigh

TARGET = 0.65  # acceptance rate of the transitions
DIVERGENT = 1000.0  # nats of energy that a trajectory may lose


class Annealed(NamedTuple):
    """An estimate of log p(x) per datum, `[n]`, in nats, with weighted draws from the true posterior.

    Attributes:
        value, stderr: The estimate, in expectation a lower bound, and its Monte Carlo standard
            error.
        ess: The effective number of chains, between 1 and k.
        acceptance: The share of accepted trajectories; near 0.65 when the step sizes fit.
        divergent: The share of trajectories that diverged; they are rejected, but speak against the
            rest.
        z: Draws of p(z | x) by site, `[k, n, *event]`, to be weighted.
        log_weights: Their logarithmic weights, `[k, n]`; `softmax(0)` normalises them.
        betas: The temperatures, `[num_steps + 1]`, from 0, which is q(z | x), to 1, which is p(x,
            z).
        path, path_stderr: log of the integral of q(z | x)^(1 - beta) p(x, z)^beta at each,
            `[num_steps + 1, n]`.
    """

    value: Tensor
    stderr: Tensor
    ess: Tensor
    acceptance: Tensor
    divergent: Tensor
    z: dict[str, Tensor]
    log_weights: Tensor
    betas: Tensor
    path: Tensor
    path_stderr: Tensor

    def warnings(self) -> list[str]:
        """Why the numbers are not to be trusted; empty if nothing speaks against them."""
        said = []
        for share, what in (
            (
                (self.acceptance < 0.3).double().mean().item(),
                "fewer than 30 % of the trajectories were accepted",
            ),
            (
                (self.divergent > 0.1).double().mean().item(),
                "more than 10 % of the trajectories diverged",
            ),
            ((self.stderr > 1).double().mean().item(), "the standard error is above a nat"),
        ):
            if share > 0:
                said.append(
                    f"{what} for {100 * share:.3g} % of the data: take more steps, num_steps="
                )
        return said


class Bracket(NamedTuple):
    """log p(x) of simulated x, from below and from above, per datum, `[n]`, in nats.

    Attributes:
        lower, lower_stderr: Forward chains from q(z | x): a lower bound in expectation.
        upper, upper_stderr: Reverse chains from the z that x was drawn with: an upper bound in
            expectation.
        x: The simulated data, `[n, *event]`.
    """

    lower: Tensor
    lower_stderr: Tensor
    upper: Tensor
    upper_stderr: Tensor
    x: Tensor

    @property
    def distance(self) -> Tensor:
        """Upper less lower, `[n]`."""
        return self.upper - self.lower


def annealed_log_evidence(
    pair: nn.Module,
    *data: Tensor,
    num_steps: int = 100,
    num_chains: int = 10,
    num_leapfrog: int = 10,
    progress: bool = True,
) -> Annealed:
    r"""log p(x) by annealed importance sampling, with Hamiltonian transitions, along the geometric
    path.

    .. math:: f_\beta(z) = q(z|x)^{1-\beta} \, p(x, z)^\beta, \qquad
        \log w = \sum_t (\beta_t - \beta_{t-1}) \, (\log p(x, z_{t-1}) - \log q(z_{t-1}|x))

    The step size of each datum at each temperature is adapted in a pilot run and then frozen, for
    adapting it in the run that counts would bias it. Constrained latents move through their
    bijections. (Neal, 2001; Grosse, Ghahramani & Adams, 2015; Wu, Burda, Salakhutdinov & Grosse,
    2017)

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_steps: Temperatures after the first, on a sigmoid schedule; each costs `num_leapfrog`
            gradients, twice.
        num_chains: k, chains for each datum.
        num_leapfrog: Leapfrog steps of each trajectory.
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
    _positive_counts(num_steps=num_steps, num_chains=num_chains, num_leapfrog=num_leapfrog)
    data = check_data(pair, data)
    betas = _schedule(num_steps)
    parts = []
    with progress_bar(2 * num_steps * data[0].shape[0], "annealing", show=progress) as bar:
        for block in _blocks(data, num_chains):
            path = _Path(pair, block, num_chains, num_leapfrog, bar)
            eps = path.run(betas, path.start()).eps
            parts.append(path.finish(path.run(betas, path.start(), eps), betas))
    joined = {
        name: torch.cat(column, dim=-1)
        for name, column in zip(Annealed._fields, zip(*parts, strict=True), strict=True)
        if name not in ("z", "betas")
    }
    z = {name: torch.cat([part.z[name] for part in parts], dim=1) for name in parts[0].z}
    return Annealed(**joined, z=z, betas=betas)


def bracket(
    pair: nn.Module,
    *data: Tensor | int,
    num_steps: int = 100,
    num_chains: int = 10,
    num_leapfrog: int = 10,
    progress: bool = True,
) -> Bracket:
    r"""log p(x) from both sides, on data simulated from the model (bidirectional Monte Carlo).

    Of simulated data one exact draw z of p(z | x) is known, the one that x was drawn with. Chains
    that anneal from it down to q(z | x) estimate 1 / p(x) without bias, so with the forward chains
    they enclose log p(x), and their distance bounds the error of both in expectation. (Grosse,
    Ghahramani & Adams, 2015)

    Arguments:
        pair: The pair.
        data: How many to simulate, or a template of x of as many rows, and what else the model
            takes; see `simulate`.
        num_steps, num_chains, num_leapfrog, progress: As for `annealed_log_evidence`.

    Returns:
        A `Bracket`.

    Raises:
        TypeError, ValueError: as `annealed_log_evidence`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> bracket(vae, 5, num_steps=5, num_chains=4).distance.shape
        torch.Size([5])
    """
    _positive_counts(num_steps=num_steps, num_chains=num_chains, num_leapfrog=num_leapfrog)
    drawn = simulate(pair, *data)
    with quietly(pair):
        template = data[0] if isinstance(data[0], Tensor) else drawn["x"]
        names = [
            name for name, value in latent_values(trace(pair.guide, (template, *data[1:]))).items()
        ]
    observed = [name for name in drawn if name not in names]
    if len(observed) != 1:
        raise ValueError(
            f"a bracket needs a model that observes x alone, this one observes {', '.join(observed)}"
        )
    x = drawn[observed[0]]
    betas = _schedule(num_steps)
    lower, upper = [], []
    start = 0
    with progress_bar(3 * num_steps * x.shape[0], "bracketing", show=progress) as bar:
        for block in _blocks((x, *data[1:]), num_chains):
            rows = slice(start, start + block[0].shape[0])
            start = rows.stop
            path = _Path(pair, block, num_chains, num_leapfrog, bar)
            eps = path.run(betas, path.start()).eps
            lower.append(evidence_of(path.run(betas, path.start(), eps).log_w))
            exact = path.at({name: drawn[name][rows] for name in names})
            upper.append(evidence_of(path.run(betas, exact, eps, reverse=True).log_w))
    value = [torch.cat([e.value for e in side]) for side in (lower, upper)]
    error = [torch.cat([e.stderr for e in side]) for side in (lower, upper)]
    return Bracket(value[0], error[0], -value[1], error[1], x)


class _State(NamedTuple):
    """Where the chains are: u `[k, n, d]`, and log q + log|dz/du| and log p + log|dz/du| with their gradients."""

    u: Tensor
    log_q: Tensor
    log_p: Tensor
    grad_q: Tensor
    grad_p: Tensor

    def log_f(self, beta: float) -> Tensor:
        return (1 - beta) * self.log_q + beta * self.log_p

    def grad(self, beta: float) -> Tensor:
        return (1 - beta) * self.grad_q + beta * self.grad_p


class _Outcome(NamedTuple):
    state: _State
    log_w: Tensor
    eps: Tensor
    acceptance: Tensor
    divergent: Tensor
    path: Tensor
    path_stderr: Tensor


class _Path:
    """The path between q(z | x) and p(z | x) for a block of data: `[k, n]` chains on unconstrained numbers."""

    def __init__(self, pair: nn.Module, data: tuple, num_chains: int, num_leapfrog: int, bar):
        self.pair, self.data, self.k, self.num_leapfrog, self.bar = (
            pair,
            data,
            num_chains,
            num_leapfrog,
            bar,
        )
        with quietly(pair):
            sites = sample_sites(trace(pair.guide, data, draws=64))
            model = sample_sites(
                trace(
                    pair.model,
                    data,
                    latents={name: site["value"][0] for name, site in sites.items()},
                )
            )
            self.bijections: dict[str, Transform] = {}
            for name, site in sites.items():
                self.bijections[name] = bijection(
                    name, model.get(name, site)["fn"].support, "log_evidence"
                )
            u = self._flatten({name: site["value"] for name, site in sites.items()})
            # what q is at x does not change on the way, unless one of its sites hangs on another
            self.q = (
                sample_sites(trace(pair.guide, data, draws=num_chains)) if len(sites) == 1 else None
            )
            if self.q is not None:
                weigh(pair, data, 1)  # refuses a pair without weights per datum
        # the spread of q, so that one step size serves all dimensions
        self.scale = u.std(0).clamp(min=1e-6)

    def start(self) -> _State:
        with quietly(self.pair):
            return self._state(
                self._flatten(latent_values(trace(self.pair.guide, self.data, draws=self.k)))
            )

    def at(self, z: dict[str, Tensor]) -> _State:
        """All chains of a datum at the same z, `[n, *event]`."""
        with quietly(self.pair):
            return self._state(
                self._flatten({name: v.expand(self.k, *v.shape) for name, v in z.items()})
            )

    def run(
        self, betas: Tensor, s: _State, eps: Tensor | None = None, reverse: bool = False
    ) -> _Outcome:
        """Along all temperatures; without step sizes `[num_steps, n]` they are adapted on the way."""
        steps, n = len(betas) - 1, self.data[0].shape[0]
        found = (
            torch.full((steps, n), 0.3, dtype=s.u.dtype, device=s.u.device) if eps is None else eps
        )
        log_w = torch.zeros_like(s.log_p, dtype=torch.float64)
        accepted, divergent = torch.zeros_like(log_w), torch.zeros_like(log_w)
        path = [evidence_of(log_w)]
        for t in range(steps, 0, -1) if reverse else range(1, steps + 1):
            increment = betas[t] - betas[t - 1]
            if not reverse:
                log_w = log_w + increment * (s.log_p - s.log_q).double()
                path.append(evidence_of(log_w))
            s, probability, lost = self._transition(s, betas[t].item(), found[t - 1])
            if reverse:
                log_w = log_w - increment * (s.log_p - s.log_q).double()
            accepted, divergent = accepted + probability, divergent + lost
            if eps is None and t < steps:
                found[t:] = (found[t - 1] * (probability.mean(0) - TARGET).exp()).to(found.dtype)
            self.bar.update(n)
        values, errors = (
            torch.stack([getattr(e, name) for e in path]) for name in ("value", "stderr")
        )
        return _Outcome(
            s, log_w, found, (accepted / steps).mean(0), (divergent / steps).mean(0), values, errors
        )

    def finish(self, outcome: _Outcome, betas: Tensor) -> Annealed:
        e = evidence_of(outcome.log_w)
        z = self._unflatten(outcome.state.u)[0]
        o = outcome
        return Annealed(
            e.value,
            e.stderr,
            e.ess,
            o.acceptance,
            o.divergent,
            z,
            o.log_w,
            betas,
            o.path,
            o.path_stderr,
        )

    def _transition(self, s: _State, beta: float, eps: Tensor) -> tuple[_State, Tensor, Tensor]:
        """One Hamiltonian trajectory that leaves f_beta as it is; its acceptance probability, and divergence."""
        jitter = 0.8 + 0.4 * torch.rand(s.log_p.shape, dtype=s.u.dtype, device=s.u.device)
        step = (eps * jitter).unsqueeze(-1) * self.scale
        v = torch.randn_like(s.u)
        energy = 0.5 * v.square().sum(-1) - s.log_f(beta)
        new = s
        v = v + 0.5 * step * new.grad(beta)
        for i in range(self.num_leapfrog):
            new = self._state(new.u + step * v)
            v = v + (0.5 if i == self.num_leapfrog - 1 else 1.0) * step * new.grad(beta)
        loss = 0.5 * v.square().sum(-1) - new.log_f(beta) - energy
        loss = torch.where(loss.isfinite(), loss, torch.full_like(loss, math.inf))
        probability = (-loss).clamp(max=0).exp()
        take = torch.rand_like(probability) < probability
        kept = (
            torch.where(take.reshape(take.shape + (1,) * (a.dim() - 2)), a, b)
            for a, b in zip(new, s, strict=True)
        )
        return _State(*kept), probability.double(), (loss > DIVERGENT).double()

    def _state(self, u: Tensor) -> _State:
        with quietly(self.pair), torch.enable_grad():
            u = u.detach().requires_grad_()
            z, log_jacobian = self._unflatten(u)
            log_likelihood, log_prior = score_joint(self.pair, self.data, self.k, z)
            log_q = self._log_variational(z) + log_jacobian
            log_p = log_likelihood + log_prior + log_jacobian
            (grad_q,) = torch.autograd.grad(log_q.sum(), u, retain_graph=True)
            (grad_p,) = torch.autograd.grad(log_p.sum(), u)
        return _State(u.detach(), log_q.detach(), log_p.detach(), grad_q, grad_p)

    def _log_variational(self, z: dict[str, Tensor]) -> Tensor:
        if self.q is None:
            return weigh(self.pair, self.data, self.k, z).log_variational
        ((name, site),) = self.q.items()
        return log_prob({**site, "value": z[name]})

    def _flatten(self, z: dict[str, Tensor]) -> Tensor:
        u = {name: self.bijections[name].inv(value) for name, value in z.items()}
        self.shapes = {name: value.shape[2:] for name, value in u.items()}
        return torch.cat([value.reshape(*value.shape[:2], -1) for value in u.values()], dim=-1)

    def _unflatten(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """z by site, and log|dz/du| `[k, n]`."""
        z, total = {}, torch.zeros_like(u[..., 0])
        chunks = u.split([shape.numel() for shape in self.shapes.values()], dim=-1)
        for (name, shape), chunk in zip(self.shapes.items(), chunks, strict=True):
            value = chunk.reshape(*u.shape[:2], *shape)
            z[name] = self.bijections[name](value)
            jacobian = self.bijections[name].log_abs_det_jacobian(value, z[name])
            total = total + jacobian.reshape(*u.shape[:2], -1).sum(-1)
        return z, total


def bijection(name: str, support: constraints.Constraint, instead: str) -> Transform:
    """The map from the reals to the support of a latent, or a ValueError that says what to use instead."""
    if support.is_discrete:
        raise ValueError(
            f"latent {name!r} is discrete ({describe(support)}), and this follows gradients; use {instead}"
        )
    try:
        return biject_to(support)
    except NotImplementedError:
        raise ValueError(
            f"latent {name!r} has support {describe(support)}, of which no bijection to the reals is known; "
            f"use {instead}"
        ) from None


def _schedule(num_steps: int) -> Tensor:
    """From 0 to 1 along a sigmoid over ±4, so that the steps are small at both ends."""
    s = torch.sigmoid(torch.linspace(-4, 4, num_steps + 1, dtype=torch.float64))
    return (s - s[0]) / (s[-1] - s[0])


def _blocks(data: tuple, num_chains: int):
    rows = max(1, KEPT // (num_chains * max(1, data[0][0].numel())))
    for start in range(0, data[0].shape[0], rows):
        yield tuple(d[start : start + rows] for d in data)


def _positive_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected a positive whole number, got {value!r}")
