"""What the latents carry: the KL term over all data, taken apart, and both factorings of the joint KL."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from pyro_vae.diagnostics.evidence import Evidence
from pyro_vae.diagnostics.evidence import log_evidence as importance_log_evidence
from pyro_vae.diagnostics.log_weights import stderr
from pyro_vae.progress import progress_bar
from pyro_vae.weights import blocks, traces
from pyro_vae.weights.intake import check_data
from pyro_vae.weights.traces import quietly, sample_sites, trace
from pyro_vae.weights.weights import Weights, weigh

TABLE = (
    2**18
)  # numbers of log q(z | x_j), over draws, data and dimensions, held at a time; more fall out of the cache
ACTIVE = 0.01


class Estimate(NamedTuple):
    """A number, or one per dimension, and its Monte Carlo standard error, 0 where it is exact."""

    value: float | Tensor
    stderr: float | Tensor


class Latents(NamedTuple):
    """The KL term as a mean over N data, and its parts, in nats: kl = information + marginal on the same draws.

    Attributes:
        kl: The mean of KL(q(z | x) ‖ p(z)) over the data.
        information: I_q(x; z) of the N data, at 1/N each, between 0 and log N. As an estimate for
            the population that they come from it is a lower bound, in expectation over data sets.
        information_loo: The same with q(z) averaged over the *other* data: for the population an
            upper bound, in expectation (Poole et al., 2019). Infinite for one datum.
        ceiling: log N, which information cannot exceed.
        marginal: KL(q(z) ‖ p(z)), q(z) the mean of q(z | x) over the data; for the population an
            upper bound.
        total_correlation: KL(q(z) ‖ Π_j q(z_j)); marginal = total_correlation + the sum of
            dimension_kl.
        dimension_kl: KL(q(z_j) ‖ p(z_j)), `[d]`. Both are None unless there is one latent whose
            dimensions are independent under p(z) and under q(z | x).
        activity: Var_x E_q[z_j | x], `[d]`, the latents' dimensions one after the other.
        active: Where that is above 0.01, `[d]` (Burda, Grosse & Salakhutdinov, 2016).
    """

    kl: Estimate
    information: Estimate
    information_loo: Estimate
    ceiling: float
    marginal: Estimate
    total_correlation: Estimate | None
    dimension_kl: Estimate | None
    activity: Tensor
    active: Tensor

    def warnings(self) -> list[str]:
        """Why numbers are not to be trusted, or what is wrong with the latents; empty if nothing is."""
        said = []
        if self.information.value > 0.9 * self.ceiling > 0:
            said.append(
                f"the information, {self.information.value:.2f}, is near its ceiling log N = {self.ceiling:.2f}: in "
                "the population it may be larger, and KL(q(z) ‖ p(z)) smaller; measure more data"
            )
        dead = (~self.active).nonzero().flatten().tolist()
        if dead and self.ceiling > 0:
            shown = ", ".join(map(str, dead[:10])) + (" and more" if len(dead) > 10 else "")
            said.append(f"{len(dead)} of {len(self.active)} dimensions of z are inactive: {shown}")
        return said

    def as_dict(self) -> dict:
        """Numbers for a JSON file."""
        return {"unit": "nats", **_plain(self), "warnings": self.warnings()}

    def __str__(self) -> str:
        rows = [
            ("KL(q(z|x) ‖ p(z))", self.kl, ""),
            ("  = I_q(x; z)", self.information, f"   (at most log N = {self.ceiling:.4f})"),
            ("  + KL(q(z) ‖ p(z))", self.marginal, ""),
        ]
        if self.dimension_kl is not None:
            each = self.dimension_kl.value.sum().item()
            rows.append(("      = total correlation", self.total_correlation, ""))
            rows.append(("      + sum of KL(q(z_j) ‖ p(z_j))", Estimate(each, None), ""))
        rows.append(
            (
                "I_q(x; z), leave-one-out",
                self.information_loo,
                "   (an upper bound for the population)",
            )
        )
        lines = [f"{name:<36} {_cell(estimate)}{note}" for name, estimate, note in rows]
        lines.append(
            f"{'active dimensions':<36} {int(self.active.sum()):>10} of {len(self.active)}"
        )
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings()])

    __repr__ = __str__


class JointKL(NamedTuple):
    """KL(q(x, z) ‖ p(x, z)) and its two factorings, in nats: total = posterior + evidence = marginal + likelihood.

    Attributes:
        total: The KL of the joints; its z-dependent part is minus the mean ELBO.
        posterior: The mean of KL(q(z | x) ‖ p(z | x)) over the data.
        evidence: KL(p_D ‖ p(x)); for continuous x relative, see `joint_kl`.
        marginal: KL(q(z) ‖ p(z)).
        likelihood: The mean of KL(q(x | z) ‖ p(x | z)) over q(z); for continuous x relative as
            well.
    """

    total: Estimate
    posterior: Estimate
    evidence: Estimate
    marginal: Estimate
    likelihood: Estimate

    def as_dict(self) -> dict:
        """Numbers for a JSON file."""
        return {"unit": "nats", **_plain(self)}

    def __str__(self) -> str:
        rows = [
            ("KL(q(x,z) ‖ p(x,z))", self.total),
            ("  = E KL(q(z|x) ‖ p(z|x))", self.posterior),
            ("  + KL(p_D ‖ p(x))", self.evidence),
            ("  = KL(q(z) ‖ p(z))", self.marginal),
            ("  + E KL(q(x|z) ‖ p(x|z))", self.likelihood),
        ]
        return "\n".join(f"{name:<28} {_cell(estimate)}" for name, estimate in rows)

    __repr__ = __str__


def latents(
    pair: nn.Module, *data: Tensor, num_samples: int = 10, progress: bool = True
) -> Latents:
    r"""The KL term over all the data, split into what z says about x and how far q(z) is from p(z).

    .. math::
        \frac1N \sum_i KL(q(z|x_i) \,\|\, p(z)) &= I_q(x; z) + KL(q(z) \,\|\, p(z)),
            \qquad q(z) = \frac1N \sum_j q(z|x_j) \\
        KL(q(z) \,\|\, p(z)) &= KL(q(z) \,\|\, \textstyle\prod_j q(z_j)) + \sum_j KL(q(z_j) \,\|\,
        p(z_j))

    The data are taken as all there is, at 1/N each, so q(z) is exact and only draws of z are
    random. The cost is num_samples N² d; memory does not grow with it. A single latent of few
    values is summed over instead: the result is then exact. (Hoffman & Johnson, 2016; Chen, Li,
    Grosse & Duvenaud, 2018)

    Arguments:
        pair: Any pair whose p(z) is the same for all data; several latents are measured together.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Latents`; its `str` is a table.

    Raises:
        TypeError, ValueError: as `log_weights`; and if p(z) depends on the data, or a latent is
            masked.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> found = latents(vae, torch.bernoulli(torch.full((20, 3), 0.5)))
        >>> abs(found.kl.value - found.information.value - found.marginal.value) < 1e-9
        True
        >>> found.dimension_kl.value.shape
        torch.Size([2])
    """
    data = _prepared(pair, data, num_samples)
    n = data[0].shape[0]
    exact = _enumerated(pair, data)
    if exact is not None:
        return _latents_exact(*exact)

    found: dict[str, list] = {
        key: [] for key in ("kl", "information", "loo", "marginal", "correlation", "each")
    }
    means, noise = [], []
    factorised = False
    for drawn in _measured(pair, data, num_samples, progress):
        found["kl"].append(drawn.own - drawn.prior.sum(-1))
        found["information"].append(drawn.own - drawn.aggregate)
        found["loo"].append(drawn.own - drawn.others)
        found["marginal"].append(drawn.aggregate - drawn.prior.sum(-1))
        factorised = drawn.each is not None
        if factorised:
            found["correlation"].append(drawn.aggregate - drawn.each.sum(-1))
            found["each"].append(drawn.each - drawn.prior)
        means.append(drawn.mean.mean(0))
        noise.append(
            drawn.mean.var(0) / num_samples if num_samples > 1 else torch.zeros_like(means[-1])
        )
    # the noise of estimated means is no activity
    activity = (torch.cat(means).var(0, correction=0) - torch.cat(noise).mean(0)).clamp(min=0)
    return Latents(
        kl=_over_data(found["kl"]),
        information=_over_data(found["information"]),
        information_loo=_over_data(found["loo"]) if n > 1 else Estimate(math.inf, math.nan),
        ceiling=math.log(n),
        marginal=_over_data(found["marginal"]),
        total_correlation=_over_data(found["correlation"]) if factorised else None,
        dimension_kl=_over_data(found["each"]) if factorised else None,
        activity=activity,
        active=activity > ACTIVE,
    )


def joint_kl(
    pair: nn.Module,
    *data: Tensor,
    num_samples: int = 10,
    log_evidence: Tensor | Evidence | None = None,
    progress: bool = True,
) -> JointKL:
    r"""KL(q(x, z) ‖ p(x, z)), q(x, z) = p_D(x) q(z | x), factored by z given x and by x given z.

    .. math::
        KL(q(x,z) \,\|\, p(x,z)) &= E_{p_D} KL(q(z|x) \,\|\, p(z|x)) + KL(p_D \,\|\, p) \\
            &= KL(q(z) \,\|\, p(z)) + E_{q(z)} KL(q(x|z) \,\|\, p(x|z)),
            \qquad q(x_i|z) = \frac{q(z|x_i)}{N q(z)}

    p_D gives each of the N data 1/N; equal data are one value of x, with their weights added. For
    discrete x all terms are KLs. For continuous x p_D has no density: KL(p_D ‖ p) is then written
    for
    -log N - mean log p(x), and E KL(q(x|z) ‖ p(x|z)) is off by the same constant. They can be
    negative, change with the unit of x, and only their differences, between models of the same
    data, mean something; the KLs of z are not touched by that. The two sums are equal on the same
    draws. A single latent of few values is summed over: the result is then exact, and
    `log_evidence` not needed.

    Arguments:
        pair: Any pair whose p(z) is the same for all data.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        log_evidence: log p(x) per datum, `[n]`, or what `log_evidence` or another estimator
            returned (fields `value` and `stderr`); by default importance sampling with 1000 draws,
            which makes `posterior` a lower bound in expectation, and `evidence` an upper one.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `JointKL`; its `str` is a table.

    Raises:
        TypeError, ValueError: as `latents`; and if log_evidence is not `[n]`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> found = joint_kl(vae, torch.bernoulli(torch.full((20, 3), 0.5)))
        >>> first, second = found.posterior, found.marginal
        >>> abs(first.value + found.evidence.value - second.value - found.likelihood.value) < 1e-6
        True
    """
    data = _prepared(pair, data, num_samples)
    n = data[0].shape[0]
    log_p_data = (_counts(data) / n).log()
    if log_evidence is not None:
        value = torch.as_tensor(getattr(log_evidence, "value", log_evidence)).to(log_p_data)
        error = torch.as_tensor(getattr(log_evidence, "stderr", torch.zeros(n))).to(log_p_data)
        if value.shape != (n,) or error.shape != (n,):
            raise ValueError(
                f"log_evidence: expected log p(x) per datum, shape [{n}], got {list(value.shape)}"
            )
    exact = _enumerated(pair, data)
    if exact is not None:
        return _joint_kl_exact(exact[1], log_p_data)

    if log_evidence is None:
        value, error, *_ = importance_log_evidence(pair, *data, num_samples=1000, progress=progress)
    elbos, marginals, likelihoods = [], [], []
    for drawn in _measured(pair, data, num_samples, progress, decode=True):
        log_p_z = drawn.prior.sum(-1)
        elbos.append(drawn.log_likelihood + log_p_z - drawn.own)
        marginals.append(drawn.aggregate - log_p_z)
        likelihoods.append(
            log_p_data[drawn.block] + drawn.own - drawn.aggregate - drawn.log_likelihood
        )
    bound = _over_data(elbos)
    noise = error.square().sum().sqrt().item() / n
    return JointKL(
        total=Estimate(log_p_data.mean().item() - bound.value, bound.stderr),
        posterior=Estimate(value.mean().item() - bound.value, math.hypot(noise, bound.stderr)),
        evidence=Estimate((log_p_data - value).mean().item(), noise),
        marginal=_over_data(marginals),
        likelihood=_over_data(likelihoods),
    )


class _Drawn(NamedTuple):
    """Draws of a block of data, scored against all data; float64.

    Attributes:
        block: The rows.
        own, aggregate, others: log q(z | x) of its own x, log q(z), and log of the mean over the
            other data, `[k, n]`.
        each: log q(z_j) by dimension, `[k, n, d]`, or None.
        prior: log p(z), by dimension if `each` is, `[k, n, d or 1]`.
        mean: E_q[z | x], or the draws where it does not exist, `[k, n, d]`.
        log_likelihood: log p(x | z), `[k, n]`, if asked for.
    """

    block: slice
    own: Tensor
    aggregate: Tensor
    others: Tensor
    each: Tensor | None
    prior: Tensor
    mean: Tensor
    log_likelihood: Tensor | None


Score = Callable[[dict[str, Tensor]], Tensor]


def _prepared(pair: nn.Module, data: tuple, num_samples: int) -> tuple[Tensor, ...]:
    if not isinstance(num_samples, int) or num_samples < 1:
        raise ValueError(f"num_samples: expected a positive whole number, got {num_samples!r}")
    data = check_data(pair, data)
    device = next((p.device for p in pair.parameters()), data[0].device)
    data = tuple(d.to(device) for d in data)
    few = tuple(d[:2] for d in data)
    with quietly(pair):
        weigh(pair, few, 1)
        for side, fn in (("guide", pair.guide), ("model", pair.model)):
            for name, site in sample_sites(trace(fn, few)).items():
                if site["mask"] is not None and not site["is_observed"]:
                    raise ValueError(
                        f"latent {name!r} of the {side} is masked, so q(z) has no density; measure the data whose "
                        "latents are all there"
                    )
    return data


def _measured(
    pair: nn.Module, data: tuple, num_samples: int, progress: bool, decode: bool = False
) -> Iterator[_Drawn]:
    """Draws of q(z | x), a block of data after the other, each scored against all data in pieces of the table."""
    n, numbers = data[0].shape[0], max(1, data[0][0].numel())
    with quietly(pair):
        z = traces.latent_values(trace(pair.guide, tuple(d[:1] for d in data)))
        d = sum(value.numel() for value in z.values())
        rows = max(1, min(n, blocks.KEPT // max(numbers, num_samples * d)))
        parts_ = [slice(start, min(start + rows, n)) for start in range(0, n, rows)]
        apart = _apart(pair, data, list(z))
        # several latents: each piece runs the guide over the data, so the fewer the better
        table = TABLE if len(z) == 1 else blocks.KEPT
        width = max(1, min(rows, table // d))
        columns = [
            _score(pair.guide, data, slice(s, min(s + width, n)), z, apart)
            for s in range(0, n, width)
        ]
        prior = _prior(pair, data, z, apart)
    points = max(1, table // (width * d))

    with progress_bar(n, "scoring draws against all data", show=progress, unit="datum") as bar:
        for block in parts_:
            part = tuple(d[block] for d in data)
            with quietly(pair):
                run = trace(pair.guide, part, draws=num_samples)
                z = traces.latent_values(run)
                mean = torch.cat(
                    [_mean(site, num_samples) for site in sample_sites(run).values()], -1
                ).double()
                flat = {name: value.flatten(0, 1) for name, value in z.items()}
                owner = torch.arange(block.start, block.stop, device=data[0].device).repeat(
                    num_samples
                )
                # filled in place: small results kept between large ones would scatter the heap
                m, across = len(owner), d if apart else 1
                own, others = (
                    torch.empty(m, dtype=torch.float64, device=owner.device) for _ in range(2)
                )
                each, log_p = (own.new_empty(m, across) for _ in range(2))
                for i in range(0, m, points):
                    here = slice(i, i + points)
                    piece = {name: value[here].unsqueeze(1) for name, value in flat.items()}
                    own[here], others[here], each[here] = _against(columns, piece, owner[here])
                    log_p[here] = prior(piece)[:, 0]
                log_likelihood = _decoded(pair, part, z, num_samples) if decode else None
            shape = (num_samples, block.stop - block.start)
            own, others, each, log_p = (
                c.reshape(*shape, *c.shape[1:]) for c in (own, others, each, log_p)
            )
            yield _Drawn(
                block=block,
                own=own,
                aggregate=torch.logaddexp(own, others) - math.log(n),
                others=others - math.log(max(n - 1, 1)),
                each=each - math.log(n) if apart else None,
                prior=log_p,
                mean=mean,
                log_likelihood=log_likelihood,
            )
            bar.update(shape[1])


def _against(columns: list, z: dict[str, Tensor], owner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log q(z | x) of its own x `[m]`, its sum over the other data `[m]`, by dimension over all data `[m, d or 1]`."""
    m = len(owner)
    own = torch.full((m,), -math.inf, dtype=torch.float64, device=owner.device)
    others, each = own.clone(), None
    for block, score in columns:
        log_q = score(z)
        each_ = log_q.logsumexp(1).double()
        each = each_ if each is None else torch.logaddexp(each, each_)
        total = log_q.double().sum(-1)
        at = ((owner >= block.start) & (owner < block.stop)).nonzero().flatten()
        own[at] = total[at, owner[at] - block.start]
        total[at, owner[at] - block.start] = -math.inf
        others = torch.logaddexp(others, total.logsumexp(1))
    return own, others, each


def _score(
    fn: Callable, data: tuple, block: slice, z: dict[str, Tensor], apart: bool
) -> tuple[slice, Score]:
    """The log-density of latents `[m, 1, *event]` under a block of data, `[m, n, d]` if apart or else `[m, n, 1]`."""
    part = tuple(d[block] for d in data)
    n = part[0].shape[0]
    if len(z) == 1:
        (name,) = z
        fixed = {name: value.expand(n, *value.shape[1:]) for name, value in z.items()}
        p = sample_sites(trace(fn, part, latents=fixed))[name]["fn"]
        if apart:
            p = _base(p)
            return block, lambda z: p.log_prob(z[name]).reshape(len(z[name]), n, -1)
        return block, lambda z: p.log_prob(z[name]).unsqueeze(-1)

    # the distribution of one latent may depend on the others, so each piece runs the function
    def score(z: dict[str, Tensor]) -> Tensor:
        m = len(next(iter(z.values())))
        values = {name: value.expand(m, n, *value.shape[2:]) for name, value in z.items()}
        sites = sample_sites(trace(fn, part, draws=m, latents=values))
        return sum(sites[name]["fn"].log_prob(values[name]).expand(m, n) for name in z).unsqueeze(
            -1
        )

    return block, score


def _prior(pair: nn.Module, data: tuple, z: dict[str, Tensor], apart: bool) -> Score:
    few = {name: value.unsqueeze(0) for name, value in z.items()}
    n, width = data[0].shape[0], max(1, blocks.KEPT // max(1, data[0][0].numel()))
    log_p = torch.cat(
        [
            _score(pair.model, data, slice(s, min(s + width, n)), z, False)[1](few).expand(1, -1, 1)
            for s in range(0, n, width)
        ],
        1,
    )
    _same_for_all(log_p)
    return _score(pair.model, data, slice(0, 1), z, apart)[1]


def _same_for_all(log_p: Tensor) -> None:
    if not torch.allclose(log_p, log_p[:, :1].expand_as(log_p), rtol=1e-4, atol=1e-4):
        raise ValueError(
            "p(z) depends on the data (on a covariate, say), so there is no one p(z) to hold the aggregate q(z) "
            "against; measure the data of one value of the covariate at a time"
        )


def _base(p: Distribution) -> Distribution:
    while isinstance(p, Independent):
        p = p.base_dist
    return p


def _apart(pair: nn.Module, data: tuple, names: list[str]) -> bool:
    """Whether there is one latent, whose dimensions are independent under p(z) and under q(z | x)."""
    few = tuple(d[:1] for d in data)
    sites = [sample_sites(trace(fn, few))[names[0]]["fn"] for fn in (pair.guide, pair.model)]
    return len(names) == 1 and all(len(_base(p).event_shape) == 0 for p in sites)


def _mean(site: dict, draws: int) -> Tensor:
    """E_q[z | x] given the draws of the other latents, or the draws themselves, `[draws, n, d]`."""
    value = site["value"]
    try:
        mean = site["fn"].mean
        value = mean.expand_as(value) if mean.isfinite().all() else value
    except NotImplementedError:
        pass
    return value.reshape(draws, value.shape[1], -1)


def _decoded(pair: nn.Module, part: tuple, z: dict[str, Tensor], num_samples: int) -> Tensor:
    draws = max(1, blocks.KEPT // (part[0].shape[0] * max(1, part[0][0].numel())))
    pieces = []
    for k in range(0, num_samples, draws):
        values = {name: value[k : k + draws] for name, value in z.items()}
        pieces.append(
            weigh(pair, part, min(draws, num_samples - k), values).log_likelihood.double()
        )
    return torch.cat(pieces)


def _over_data(found: list[Tensor]) -> Estimate:
    """The mean over data and draws `[k, n, ...]` and its error: the data are fixed, only the draws are random."""
    value = torch.cat([b.mean(0) for b in found])
    error = torch.cat([stderr(b) for b in found]).square().sum(0).sqrt() / len(value)
    value = value.mean(0)
    return Estimate(value, error) if value.dim() else Estimate(value.item(), error.item())


def _enumerated(pair: nn.Module, data: tuple) -> tuple[Tensor, Weights] | None:
    """The values of a single discrete latent, `[K, d]`, and the terms at each, `[K, n]`; None if it is not one."""
    n = data[0].shape[0]
    with quietly(pair):
        sites = sample_sites(trace(pair.guide, tuple(d[:1] for d in data)))
        p = next(iter(sites.values()))["fn"]
        if len(sites) != 1 or not p.has_enumerate_support:
            return None
        values = p.enumerate_support(expand=False)
        k = len(values)
        if k * n > blocks.KEPT:
            return None
        (name,) = sites
        rows = max(1, blocks.KEPT // (k * max(1, data[0][0].numel())))
        parts = []
        for start in range(0, n, rows):
            part = tuple(d[start : start + rows] for d in data)
            z = values.expand(k, part[0].shape[0], *values.shape[2:])
            parts.append(weigh(pair, part, k, {name: z}))
    found = Weights(*(torch.cat(column, 1).double() for column in zip(*parts, strict=True)))
    _same_for_all(found.log_prior)
    return values.reshape(k, -1).double(), found


def _expected(weights: Tensor, values: Tensor) -> float:
    """The sum over values of z and the mean over data, where nothing times infinity is nothing."""
    return torch.where(weights > 0, weights * values, 0.0).sum(0).mean().item()


def _latents_exact(values: Tensor, t: Weights) -> Latents:
    n = t.log_prior.shape[1]
    log_q, log_p = t.log_variational, t.log_prior
    q = log_q.exp()
    aggregate = log_q.logsumexp(1, keepdim=True) - math.log(n)
    rest = (q.sum(1, keepdim=True) - q).clamp(min=0)
    mean = q.T @ values
    activity = mean.var(0, correction=0)
    marginal = Estimate(_expected(q, aggregate - log_p), 0.0)
    one = values.shape[1] == 1
    return Latents(
        kl=Estimate(_expected(q, log_q - log_p), 0.0),
        information=Estimate(_expected(q, log_q - aggregate), 0.0),
        information_loo=Estimate(_expected(q, log_q - (rest / max(n - 1, 1)).log()), 0.0),
        ceiling=math.log(n),
        marginal=marginal,
        total_correlation=Estimate(0.0, 0.0) if one else None,
        dimension_kl=Estimate(activity.new_tensor([marginal.value]), torch.zeros_like(activity))
        if one
        else None,
        activity=activity,
        active=activity > ACTIVE,
    )


def _joint_kl_exact(t: Weights, log_p_data: Tensor) -> JointKL:
    log_q, log_joint = t.log_variational, t.log_likelihood + t.log_prior
    q = log_q.exp()
    aggregate = log_q.logsumexp(1, keepdim=True) - math.log(len(log_p_data))
    log_evidence = log_joint.logsumexp(0)
    return JointKL(
        total=Estimate(_expected(q, log_p_data + log_q - log_joint), 0.0),
        posterior=Estimate(_expected(q, log_q - log_joint + log_evidence), 0.0),
        evidence=Estimate((log_p_data - log_evidence).mean().item(), 0.0),
        marginal=Estimate(_expected(q, aggregate - t.log_prior), 0.0),
        likelihood=Estimate(_expected(q, log_p_data + log_q - aggregate - t.log_likelihood), 0.0),
    )


def _counts(data: tuple) -> Tensor:
    """How often each datum occurs among the data, `[n]`, float64."""
    keys = []
    for d in data:
        keys.append(d.reshape(d.shape[0], -1).unique(dim=0, return_inverse=True)[1])
    _, at, counts = torch.stack(keys, 1).unique(dim=0, return_inverse=True, return_counts=True)
    return counts[at].double()


def _plain(value):
    """Named tuples as dictionaries, tensors as lists."""
    if isinstance(value, tuple):
        return {key: _plain(v) for key, v in value._asdict().items()}
    return value.tolist() if isinstance(value, Tensor) else value


def _cell(estimate: Estimate) -> str:
    return f"{estimate.value:10.4f}" + (
        "" if estimate.stderr is None else f" ± {estimate.stderr:.4f}"
    )
