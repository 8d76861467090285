"""How far q(z | x) is from p(z | x), and why: the family of q, or the encoder that amortises it."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor, nn
from torch.distributions import Transform, constraints, transform_to

from pyro_vae.conditionals import Conditional
from pyro_vae.diagnostics.annealing import Annealed, bijection
from pyro_vae.diagnostics.elbo import elbo, gathered
from pyro_vae.diagnostics.evidence import Evidence, evidence_of
from pyro_vae.diagnostics.log_weights import measured, stderr
from pyro_vae.progress import progress_bar
from pyro_vae.supports import describe, is_real
from pyro_vae.weights.blocks import KEPT
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.traces import log_prob, quietly, sample_sites, trace

ALTERNATIVES = (("scale_tril", "covariance_matrix", "precision_matrix"), ("logits", "probs"))


class Gap(NamedTuple):
    """KL(q(z | x) ‖ p(z | x)) per datum, `[n]`, in nats; in expectation a lower bound.

    Attributes:
        value, stderr: log p(x) - ELBO, and its Monte Carlo standard error. On the same draws, by
            importance sampling, it is never negative; against another estimate of log p(x) it can
            be, by noise.
    """

    value: Tensor
    stderr: Tensor


class InferenceGaps(NamedTuple):
    """The two parts of KL(q(z | x) ‖ p(z | x)) per datum, `[n]`, in nats, with Monte Carlo standard errors.

    Attributes:
        approximation, approximation_stderr: log p(x) less the best ELBO of the family.
        amortisation, amortisation_stderr: The best ELBO less the encoder's; below 0 where another
            family was asked for that is worse than the encoder's q.
        total, total_stderr: Their sum, log p(x) less the encoder's ELBO.
        log_evidence, log_evidence_stderr: The log p(x) that was used.
        best_elbo, best_elbo_stderr: The ELBO of the refitted q. It is found by optimisation, so the
            truly best one
            is no lower: the approximation gap is bounded from above by it, the amortisation gap
                from below.
        elbo, elbo_stderr: The encoder's ELBO.
        khat: The Pareto shape of the weights from which log p(x) was estimated, see `Evidence`; NaN
            where it was given.
    """

    approximation: Tensor
    approximation_stderr: Tensor
    amortisation: Tensor
    amortisation_stderr: Tensor
    total: Tensor
    total_stderr: Tensor
    log_evidence: Tensor
    log_evidence_stderr: Tensor
    best_elbo: Tensor
    best_elbo_stderr: Tensor
    elbo: Tensor
    elbo_stderr: Tensor
    khat: Tensor


def posterior_gap(
    pair: nn.Module,
    *data: Tensor,
    num_samples: int = 5000,
    log_evidence: Evidence | Annealed | None = None,
    progress: bool = True,
) -> Gap:
    r"""How far q(z | x) is from the true posterior.

    .. math:: KL(q(z|x) \,\|\, p(z|x)) = \log p(x) - \mathrm{ELBO}(x)

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        log_evidence: log p(x) with fields `value` and `stderr`, `[n]` each, from
            `annealed_log_evidence` for one. By default it is estimated by importance sampling on
            the draws of the ELBO; the gap then cannot come out negative, and is a lower bound in
            expectation.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Gap`, `[n]` each, float64.

    Raises:
        TypeError, ValueError: as `log_weights`; and if `log_evidence` has other fields or another
            shape.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> bool((posterior_gap(vae, torch.ones(5, 3), num_samples=100).value >= 0).all())
        True
    """
    if log_evidence is not None:
        _check_evidence(log_evidence, data)
        e = elbo(pair, *data, num_samples=num_samples, progress=progress)
        value, error = (t.to(e.value) for t in (log_evidence.value, log_evidence.stderr))
        return Gap(value - e.value, (error.square() + e.stderr.square()).sqrt())
    found = measured(pair, data, num_samples, progress)
    return gathered([gap_of(t.log_likelihood + t.log_prior - t.log_variational) for t in found])


def gap_of(log_w: Tensor) -> Gap:
    """The logarithm of the mean weight less the mean of their logarithms, of `[k, n]` in nats."""
    influence = log_w.softmax(0) * log_w.shape[0] - log_w
    return Gap(evidence_of(log_w).value - log_w.mean(0), stderr(influence))


def inference_gaps(
    pair: nn.Module,
    *data: Tensor,
    log_evidence: Evidence | Annealed | None = None,
    family: Callable[[int], Conditional] | None = None,
    num_steps: int = 500,
    num_particles: int = 16,
    learning_rate: float = 0.1,
    num_samples: int = 5000,
    seed: int | None = None,
    progress: bool = True,
) -> InferenceGaps:
    r"""KL(q(z | x) ‖ p(z | x)) as what the family of q costs, and what it costs that an encoder
    sets its parameters.

    .. math::
        \log p(x) - \mathrm{ELBO}(q) =
        \underbrace{\log p(x) - \mathrm{ELBO}(q^*)}_{\text{approximation}} +
        \underbrace{\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q)}_{\text{amortisation}}

    q* has parameters of its own for each datum. They start at the encoder's output, *all*
    parameters of the distribution, also those that the encoder fixes, follow the gradient of the
    ELBO (Adam, the learning rate falling to 0 along a cosine), and are kept where that raised an
    ELBO of fresh draws. The parameters of the pair do not change. (Cremer, Li & Duvenaud, 2018)

    Arguments:
        pair: The pair.
        data: x, `[n, *event]`, and what else the model takes.
        log_evidence: log p(x) with fields `value` and `stderr`, `[n]` each. By default it is
            estimated by importance sampling from q*, on the draws of the best ELBO; look at `khat`
            then.
        family: Another family than the guide's, called with a number d: `pv.MultivariateNormal`, or
            `functools.partial(pv.Flow, transforms=2)`. Its q* is over all latents of a datum
            together, as one vector
            of d unconstrained numbers, and starts at the means and variances of draws of q. A flow
                is slow: one is
            fitted for each datum, in a loop at every step, so pass few data.
        num_steps: Steps of Adam.
        num_particles: Draws of each datum at a step.
        learning_rate: Of Adam at the start; locations are in units of the standard deviations of q.
        num_samples: Draws for each ELBO and for log p(x).
        seed: Draw from a random state of its own, and leave torch's as it was.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        An `InferenceGaps`, `[n]` each, float64.

    Raises:
        TypeError, ValueError: as `log_weights`; if a latent is discrete; if the guide's
            distribution cannot be refitted (a flow, a mixture, a latent whose q depends on
            another), which `family` may help; if the family has no `loc` and scale to start at.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> gaps = inference_gaps(vae, torch.ones(5, 3), num_steps=20, num_samples=100)
        >>> bool((gaps.approximation + gaps.amortisation - gaps.total).abs().max() < 1e-9)
        True
    """
    for name, value in (
        ("num_steps", num_steps),
        ("num_particles", num_particles),
        ("num_samples", num_samples),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}: expected a positive whole number, got {value!r}")
    if not isinstance(learning_rate, int | float) or not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate: expected a positive number, got {learning_rate!r}")
    if family is not None and not callable(family):
        raise TypeError(
            f"family: expected a class of families, pv.MultivariateNormal for one, got {family!r}"
        )

    with _seeded(seed):
        data = check_data(pair, data)
        device = next((p.device for p in pair.parameters()), data[0].device)
        data = tuple(d.to(device) for d in data)
        if log_evidence is not None:
            _check_evidence(log_evidence, data)
        encoder = elbo(pair, *data, num_samples=num_samples, progress=progress)
        n, numbers = data[0].shape[0], max(1, data[0][0].numel())
        rows = max(1, min(n, KEPT // max(4 * numbers * num_particles, num_samples)))
        parts = []
        with progress_bar(num_steps * n, "refitting", show=progress) as bar, quietly(pair):
            for start in range(0, n, rows):
                block = tuple(d[start : start + rows] for d in data)
                q = _Sites(pair, block) if family is None else _Joint(pair, block, family)
                _refit(q, pair, block, num_steps, num_particles, learning_rate, bar)
                log_w = _weights(q, pair, block, num_samples)
                gap, e = gap_of(log_w), evidence_of(log_w)
                parts.append(
                    _Refitted(
                        log_w.mean(0),
                        stderr(log_w),
                        gap.value,
                        gap.stderr,
                        e.value,
                        e.stderr,
                        e.khat,
                    )
                )
    best = gathered(parts)

    approximation, approximation_stderr, value, error, khat = best[2:]
    if log_evidence is not None:
        value, error = (t.to(best.elbo) for t in (log_evidence.value, log_evidence.stderr))
        approximation = value - best.elbo
        approximation_stderr = _root(error, best.elbo_stderr)
        khat = torch.full_like(value, float("nan"))
    amortisation = best.elbo - encoder.value
    return InferenceGaps(
        approximation,
        approximation_stderr,
        amortisation,
        _root(best.elbo_stderr, encoder.stderr),
        approximation + amortisation,
        _root(error, encoder.stderr),
        value,
        error,
        best.elbo,
        best.elbo_stderr,
        encoder.value,
        encoder.stderr,
        khat,
    )


class _Refitted(NamedTuple):
    elbo: Tensor
    elbo_stderr: Tensor
    gap: Tensor
    gap_stderr: Tensor
    evidence: Tensor
    evidence_stderr: Tensor
    khat: Tensor


class _Factor:
    """A distribution over data `[n]` whose parameters are free numbers, which start at those of another.

    Arguments:
        base: Where it starts, without `Independent`.
        reinterpreted: The dimensions that `to_event` declared.
        unit: The standard deviation of the event, `[n, *event]`, in which locations are counted.
        start: Other starting values, by parameter.
    """

    def __init__(self, base, reinterpreted: int, unit: Tensor, start: dict[str, Tensor]):
        self.cls, self.reinterpreted = type(base), reinterpreted
        self.values = {
            key: start.get(key, getattr(base, key)).detach().clone() for key in _parameters(base)
        }
        self.units = {key: _unit(key, unit) for key in self.values}
        self.raw = {}
        for key, value in self.values.items():
            value = value - value if key == "loc" else value / self.units[key]
            self.raw[key] = self._bijection(key).inv(value).detach().clone().requires_grad_()

    def __call__(self):
        values = {}
        for key, raw in self.raw.items():
            value = self._bijection(key)(raw) * self.units[key]
            values[key] = self.values[key] + value if key == "loc" else value
        return self.cls(**values).to_event(self.reinterpreted)

    def _bijection(self, key: str) -> Transform:
        return transform_to(self.cls.arg_constraints[key])


class _Sites:
    """q with the guide's distribution at each site, and parameters for each datum."""

    def __init__(self, pair: nn.Module, data: tuple):
        first, second, draws = (
            sample_sites(trace(pair.guide, data, draws=k)) for k in (None, None, 100)
        )
        n = data[0].shape[0]
        self.factors, self.masks = {}, {name: site["mask"] for name, site in first.items()}
        for name, site in first.items():
            base, reinterpreted = _unwrap(site["fn"])
            other, _ = _unwrap(second[name]["fn"])
            reason = _why_not(base)
            if reason is None and tuple(site["fn"].batch_shape) != (n,):
                reason = f"has batch_shape {tuple(site['fn'].batch_shape)}, expected ({n},)"
            if reason is None and not all(
                torch.allclose(getattr(base, k), getattr(other, k)) for k in _parameters(base)
            ):
                reason = (
                    "depends on draws of the other latents, which parameters for each datum cannot"
                )
            if reason is not None:
                raise ValueError(
                    f"q cannot be refitted in its own family: at latent {name!r}, {type(base).__name__} {reason}. Pass "
                    "another, family=pv.MultivariateNormal for one."
                )
            self.factors[name] = _Factor(base, reinterpreted, _spread(draws[name]["value"]), {})
        self.tensors = [
            (raw, None) for factor in self.factors.values() for raw in factor.raw.values()
        ]

    def draw(self, k: int) -> tuple[dict[str, Tensor], Tensor]:
        """z by site, `[k, n, *event]`, and log q(z) `[k, n]`."""
        z, log_q = {}, 0.0
        for name, factor in self.factors.items():
            q = factor()
            z[name] = q.rsample((k,))
            log_q = log_q + scale_and_mask(q.log_prob(z[name]), mask=self.masks[name])
        return z, log_q


class _Joint:
    """q of any family over all latents of a datum, as one vector of unconstrained numbers."""

    def __init__(self, pair: nn.Module, data: tuple, family: Callable[[int], Conditional]):
        sites = sample_sites(trace(pair.guide, data, draws=200))
        model = sample_sites(
            trace(pair.model, data, draws=200, latents={k: s["value"] for k, s in sites.items()})
        )
        self.bijections, self.shapes, columns = {}, {}, []
        for name, site in sites.items():
            if isinstance(site["mask"], Tensor):
                raise ValueError(
                    f"latent {name!r} is masked, and another family has no mask: leave family= out"
                )
            self.bijections[name] = bijection(name, model[name]["fn"].support, "posterior_gap")
            u = self.bijections[name].inv(site["value"])
            self.shapes[name] = u.shape[2:]
            columns.append(u.flatten(2) if u.dim() > 2 else u.unsqueeze(-1))
        u = torch.cat(columns, dim=-1)
        n, d = u.shape[1:]
        self.mean, self.unit = u.mean(0), _spread(u)
        q = family(d)
        if not isinstance(q, Conditional) or q.given_shapes:
            raise TypeError(
                f"family: expected a family that, called with a number, is a distribution over vectors with nothing "
                f"given, pv.MultivariateNormal for one; got {family!r}"
            )
        q = q.to(u)
        base, reinterpreted = _unwrap(q())
        reason = _why_not(base)
        self.factor, self.flows = None, []
        if reason is None:
            self.factor = _Factor(
                base.expand((n, *base.batch_shape)), reinterpreted, self.unit, self._start(base)
            )
            self.tensors = [(raw, None) for raw in self.factor.raw.values()]
        elif base.has_rsample and not _parameters(base) and is_real(base.support):
            self.flows = [q] + [family(d).to(u) for _ in range(n - 1)]
            self.tensors = [
                (raw, i) for i, flow in enumerate(self.flows) for raw in flow.parameters()
            ]
        else:
            raise ValueError(
                f"family: {type(base).__name__} {reason}, so it cannot be fitted for each datum"
            )

    def draw(self, k: int) -> tuple[dict[str, Tensor], Tensor]:
        if self.factor is not None:
            q = self.factor()
            u = q.rsample((k,))
            log_q = q.log_prob(u)
        else:
            draws = [(q, q.rsample((k,))) for q in (flow() for flow in self.flows)]
            log_q = torch.stack([q.log_prob(u) for q, u in draws], dim=1) - self.unit.log().sum(-1)
            u = self.mean + self.unit * torch.stack([u for _, u in draws], dim=1)
        z = {}
        for (name, shape), chunk in zip(
            self.shapes.items(),
            u.split([shape.numel() for shape in self.shapes.values()], dim=-1),
            strict=True,
        ):
            v = chunk.reshape(*chunk.shape[:2], *shape)
            z[name] = self.bijections[name](v)
            jacobian = self.bijections[name].log_abs_det_jacobian(v, z[name])
            log_q = log_q - jacobian.reshape(*chunk.shape[:2], -1).sum(-1)
        return z, log_q

    def _start(self, base) -> dict[str, Tensor]:
        """The moments of the draws, as parameters of a family with a location and a scale."""
        keys = set(_parameters(base))
        if (
            "loc" not in keys
            or not keys & {"scale", "scale_tril", "cov_diag"}
            or not is_real(base.support)
        ):
            raise ValueError(
                f"family: {type(base).__name__} over {describe(base.support)} with {', '.join(sorted(keys))}; expected "
                "one over the reals with loc and one of scale, scale_tril, cov_diag, at which to start it"
            )
        start = {"loc": self.mean, "scale": self.unit, "scale_tril": self.unit.diag_embed()}
        start["cov_diag"] = self.unit.square()
        if "cov_factor" in keys:
            start["cov_factor"] = 0.1 * self.unit.unsqueeze(-1) * torch.randn_like(base.cov_factor)
        if "df" in keys:
            start["df"] = torch.full_like(self.unit, 10.0)
        return start


def _refit(
    q, pair: nn.Module, data: tuple, num_steps: int, num_particles: int, learning_rate: float, bar
) -> None:
    """Adam on all data at once, whose parameters are independent; kept where it raised the ELBO."""
    tensors = [tensor for tensor, _ in q.tensors]
    before = [tensor.detach().clone() for tensor in tensors]
    optimiser = torch.optim.Adam(tensors, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)
    for _ in range(num_steps):
        with torch.enable_grad():
            loss = -_log_weights(q, pair, data, num_particles).mean(0).sum()
            gradients = torch.autograd.grad(loss, tensors)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient.nan_to_num(0.0, 0.0, 0.0)
        optimiser.step()
        schedule.step()
        bar.update(data[0].shape[0])

    after = [tensor.detach().clone() for tensor in tensors]
    at_end = _weights(q, pair, data, 1000).mean(0)
    _assign(q, before)
    at_start = _weights(q, pair, data, 1000).mean(0)
    better = at_end > at_start
    chosen = []
    for (_, i), old, new in zip(q.tensors, before, after, strict=True):
        keep = better.reshape(-1, *[1] * (new.dim() - 1)) if i is None else better[i]
        chosen.append(torch.where(keep, new, old))
    _assign(q, chosen)


def _assign(q, values: list[Tensor]) -> None:
    for (tensor, _), value in zip(q.tensors, values, strict=True):
        tensor.detach().copy_(value)


def _log_weights(q, pair: nn.Module, data: tuple, k: int) -> Tensor:
    """log p(x, z) - log q(z) of draws of q, `[k, n]`, differentiable in q."""
    z, log_q = q.draw(k)
    sites = sample_sites(trace(pair.model, data, draws=k, latents=z)).values()
    return sum(log_prob(site) for site in sites) - log_q


def _weights(q, pair: nn.Module, data: tuple, num_samples: int) -> Tensor:
    """The same without gradients, in pieces, float64."""
    draws = max(1, KEPT // data[0].numel())
    pieces = [
        _log_weights(q, pair, data, min(draws, num_samples - k))
        for k in range(0, num_samples, draws)
    ]
    return torch.cat(pieces).double()


def _unwrap(fn) -> tuple:
    """A distribution without `Independent`, and how many dimensions those declared."""
    reinterpreted = 0
    while isinstance(fn, torch.distributions.Independent):
        reinterpreted += fn.reinterpreted_batch_ndims
        fn = fn.base_dist
    return fn, reinterpreted


def _parameters(base) -> list[str]:
    """The arguments from which a distribution is made again."""
    made_of = [
        key
        for key in inspect.signature(type(base).__init__).parameters
        if key in base.arg_constraints
    ]
    for first, *others in ALTERNATIVES:
        if first in made_of:
            made_of = [key for key in made_of if key not in others]
    return made_of


def _why_not(base) -> str | None:
    """Why the parameters of a distribution cannot be free numbers, or None if they can."""
    if base.support.is_discrete:
        return "is discrete"
    if not base.has_rsample:
        return "has no reparametrised draws (rsample)"
    required = [
        key
        for key, p in inspect.signature(type(base).__init__).parameters.items()
        if key not in ("self", "validate_args")
        and p.default is p.empty
        and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    names = _parameters(base)
    if not names or not set(required) <= set(names):
        return "is not made of parameters alone"
    for key in names:
        constraint = type(base).arg_constraints[key]
        try:
            transform_to(constraint)
        except NotImplementedError:
            return f"has a parameter {key} without a map from the reals"
        if constraint is constraints.dependent or not isinstance(getattr(base, key, None), Tensor):
            return f"has a parameter {key} that depends on the others"
    return None


def _spread(draws: Tensor) -> Tensor:
    """The standard deviation of draws `[k, n, *event]`, never 0."""
    return draws.std(0).nan_to_num(1.0, 1.0, 1.0).clamp(min=1e-6)


def _unit(key: str, spread: Tensor) -> Tensor:
    if key == "loc":
        return spread
    if key in ("scale_tril", "cov_factor"):
        return spread.unsqueeze(-1)
    return spread.new_ones(())


def _check_evidence(log_evidence: Evidence | Annealed, data: tuple) -> None:
    for field in ("value", "stderr"):
        found = getattr(log_evidence, field, None)
        if not isinstance(found, Tensor):
            raise TypeError(
                f"log_evidence: expected fields value and stderr, tensors [n], as log_evidence and "
                f"annealed_log_evidence return, got {type(log_evidence).__name__} without {field}"
            )
        if tuple(found.shape) != (data[0].shape[0],):
            raise ValueError(
                f"log_evidence: expected {field} of shape ({data[0].shape[0]},), one for each datum, got "
                f"{tuple(found.shape)}"
            )


def _root(*errors: Tensor) -> Tensor:
    return sum(error.square() for error in errors).sqrt()


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
