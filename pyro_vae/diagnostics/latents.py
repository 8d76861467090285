"""What the latents carry: the KL term over all data, taken apart."""

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_whole
from pyro_vae.diagnostics.aggregate import (
    Drawn,
    admit_unmasked,
    refuse_different,
    score_in_blocks,
)
from pyro_vae.diagnostics.enumeration import enumerate_latent, expect
from pyro_vae.diagnostics.estimate import (
    Estimate,
    average_data,
    average_draws,
    join_blocks,
    to_plain,
    write_estimate,
)
from pyro_vae.weights.weights import Weights

ACTIVE = 0.01  # the variance over data of E_q[z_j | x], above which dimension j is active
NEAR = 0.9  # the share of its ceiling, above which the information may be cut off by it
SHOWN = 10  # inactive dimensions that a warning lists


@dataclass(frozen=True)
class Level:
    """One of several latents: its part of the KL term, as a mean over N data, in nats.

    Attributes:
        kl: E_q[log q(z_l | .) - log p(z_l | .)], each given what it is given there.
        information: I_q(x; z_l | z_<l), what z_l says about x beyond the latents that the guide
            draws before it. It is zero for a level that is drawn from the others alone.
        activity, active: See `Latents`, for the dimensions of z_l.
    """

    kl: Estimate
    information: Estimate
    activity: Tensor
    active: Tensor


@dataclass(frozen=True)
class Latents:
    """The KL term as a mean over N data, with its parts, in nats.

    On the same draws kl = information + marginal, and marginal = total_correlation + the sum of
    dimension_kl. The KL and the information of the levels add up to kl and information.

    Attributes:
        kl: The mean of KL(q(z | x) ‖ p(z)) over the data.
        information: I_q(x; z) of the N data, at 1/N each, between 0 and the ceiling. As an estimate
            for the population that they come from it is a lower bound, in expectation over data
            sets.
        information_loo: The same with q(z) averaged over the *other* data. For the population it is
            an upper bound, in expectation (Poole et al., 2019). It is infinite for one datum, and
            no use near the ceiling, see `upper`. Where rows repeat that would not in the
            population, it is too low to be a bound.
        ceiling: The entropy of the data, which information cannot exceed. It is log N, and less
            where rows repeat.
        count: N.
        distinct: How many rows there are that differ.
        marginal: KL(q(z) ‖ p(z)), where q(z) is the mean of q(z | x) over the data. For the
            population it is an upper bound.
        total_correlation: KL(q(z) ‖ Π_j q(z_j)). It is None unless there is one latent whose
            dimensions are independent under p(z) and under q(z | x).
        dimension_kl: KL(q(z_j) ‖ p(z_j)), `[d]`, or None as well.
        activity: Var_x E_q[z_j | x], `[d]`, the latents' dimensions one after the other.
        active: Where that is above 0.01, `[d]` (Burda, Grosse & Salakhutdinov, 2016).
        levels: By site, in the order in which the guide draws them, where there are several
            latents. Otherwise None.
    """

    kl: Estimate
    information: Estimate
    information_loo: Estimate
    ceiling: float
    count: int
    distinct: int
    marginal: Estimate
    total_correlation: Estimate | None
    dimension_kl: Estimate | None
    activity: Tensor
    active: Tensor
    levels: dict[str, Level] | None = None

    @property
    def upper(self) -> Estimate:
        """What the information in the population does not exceed, in expectation.

        It is the KL term, or `information_loo` where that is less and no rows repeat.
        """
        has_repeats = self.distinct < self.count
        if has_repeats or self.kl.value <= self.information_loo.value:
            return self.kl
        return self.information_loo

    def write_ceiling(self) -> str:
        """What the ceiling is, and how high."""
        if self.distinct == self.count:
            return f"log N = {self.ceiling:.2f}"
        return f"{self.ceiling:.2f}, the entropy of {self.distinct} distinct rows of {self.count}"

    def warnings(self) -> list[str]:
        """Why numbers are not to be trusted, or what is wrong with the latents, if anything is."""
        said = []
        if self.information.value > NEAR * self.ceiling > 0:
            said.append(
                f"the information, {self.information.value:.2f}, is near its ceiling "
                f"{self.write_ceiling()}: in the population it may be larger, up to "
                f"{self.upper.value:.2f}, and KL(q(z) ‖ p(z)) smaller; measure more data"
            )
        inactive = (~self.active).nonzero().flatten().tolist()
        if inactive and self.count > 1:
            shown = ", ".join(map(str, inactive[:SHOWN]))
            more = " and more" if len(inactive) > SHOWN else ""
            said.append(
                f"{len(inactive)} of {len(self.active)} dimensions of z are inactive: {shown}{more}"
            )
        return said

    def as_dict(self) -> dict:
        """Numbers for a JSON file."""
        return {"unit": "nats", **to_plain(self), "warnings": self.warnings()}

    def __str__(self) -> str:
        rows = [
            ("KL(q(z|x) ‖ p(z))", write_estimate(self.kl)),
            (
                "  = I_q(x; z)",
                f"{write_estimate(self.information)}   (at most {self.write_ceiling()})",
            ),
            ("  + KL(q(z) ‖ p(z))", write_estimate(self.marginal)),
            *self._write_marginal(),
            (
                "I_q(x; z), leave-one-out",
                f"{write_estimate(self.information_loo)}   ({self._describe_bound()})",
            ),
            ("active dimensions", f"{int(self.active.sum()):>10} of {len(self.active)}"),
        ]
        lines = [f"{label:<36} {text}" for label, text in rows]
        warnings = [f"warning: {warning}" for warning in self.warnings()]

        return "\n".join(lines + self._write_levels() + warnings)

    __repr__ = __str__

    def _describe_bound(self) -> str:
        if self.distinct < self.count:
            return "no upper bound for the population, if rows repeat less there"
        if self.upper is self.kl:
            return "above the KL term, which is an upper bound for the population as well"
        return "an upper bound for the population"

    def _write_levels(self) -> list[str]:
        if self.levels is None:
            return []

        head = ("latent, as drawn", "E_q log q/p", "I_q(x; z_l | z_<l)", "active")
        lines = ["{:<18}{:>20}{:>20}{:>12}".format(*head)]
        for name, level in self.levels.items():
            kl, information = write_estimate(level.kl), write_estimate(level.information)
            lines.append(f"  {name:<16}{kl:>20}{information:>20}{write_active(level):>12}")
        return lines

    def _write_marginal(self) -> list[tuple[str, str]]:
        if self.total_correlation is None or self.dimension_kl is None:
            return []

        return [
            ("      = total correlation", write_estimate(self.total_correlation)),
            (
                "      + sum of KL(q(z_j) ‖ p(z_j))",
                f"{self.dimension_kl.value.sum().item():10.4f}",
            ),
        ]


def write_active(level: Level) -> str:
    """How many dimensions are active, and of how many."""
    return f"{int(level.active.sum())} of {len(level.active)}"


def latents(
    pair: nn.Module, *data: Tensor, num_samples: int = 10, progress: bool = True
) -> Latents:
    r"""The KL term over all the data, split into what z says about x and how far q(z) is from p(z).

    .. math::
        \frac1N \sum_i KL(q(z|x_i) \,\|\, p(z)) &= I_q(x; z) + KL(q(z) \,\|\, p(z)),
            \qquad q(z) = \frac1N \sum_j q(z|x_j) \\
        KL(q(z) \,\|\, p(z)) &= KL(q(z) \,\|\, \prod_j q(z_j)) + \sum_j KL(q(z_j) \,\|\,
        p(z_j))

    The data are taken as all there is, at 1/N each. So q(z) is exact and only draws of z are
    random. The cost is num_samples N² d. Memory does not grow with it. A single latent of few
    values is summed over instead, and the result is then exact. (Hoffman & Johnson, 2016; Chen, Li,
    Grosse & Duvenaud, 2018)

    Several latents z_1, ..., z_L, in the order in which the guide draws them, are taken apart too:

    .. math:: I_q(x; z) = \sum_l I_q(x; z_l | z_{<l}), \qquad
        KL(q(z|x) \,\|\, p(z)) = \sum_l E_q[\log q(z_l | \cdot) - \log p(z_l | \cdot)]

    Arguments:
        pair: Any pair whose p(z) is the same for all data. Several latents are measured together.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Latents`. Its `str` is a table.

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
    num_samples = check_whole("num_samples", num_samples)
    data = admit_unmasked(pair, data)
    enumerated = enumerate_latent(pair, data)
    repeats = count_repeats(data)
    if enumerated is not None:
        return _measure_exactly(*enumerated, repeats)

    blocks = score_in_blocks(pair, data, num_samples, progress=progress)
    parts, sizes = [], {}
    for drawn in blocks:
        parts.append(_average_block(drawn))
        sizes = drawn.sizes
    return _average_parts(join_blocks(parts, dim=0), sizes, repeats)


def count_repeats(data: tuple) -> list[int]:
    """How often each distinct row is there, over all that belongs to a datum.

    Example:
        >>> count_repeats((torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]),))
        [2, 1]
    """
    columns = [
        d.detach().cpu().reshape(len(d), -1).contiguous().view(torch.uint8).numpy() for d in data
    ]
    rows = Counter(b"".join(part.tobytes() for part in row) for row in zip(*columns, strict=True))
    return list(rows.values())


def find_entropy(counts: list[int]) -> float:
    """The entropy of one of the data, drawn at random, in nats.

    Example:
        >>> round(find_entropy([1, 1, 1, 1]) - math.log(4), 12), find_entropy([5])
        (0.0, 0.0)
    """
    n = sum(counts)
    return math.log(n) - sum(count * math.log(count) for count in counts) / n


@dataclass(frozen=True)
class _Parts:
    """The parts of the KL term, and the moments of z, for each datum, `[n]` or `[n, d]`."""

    kl: Estimate
    information: Estimate
    information_loo: Estimate
    marginal: Estimate
    total_correlation: Estimate | None
    dimension_kl: Estimate | None
    mean: Tensor
    noise: Tensor
    levels: "_LevelParts | None"


@dataclass(frozen=True)
class _LevelParts:
    """The parts of each level, for each datum, `[n, levels]`."""

    kl: Estimate
    information: Estimate


def _average_block(drawn: Drawn) -> _Parts:
    """The means over the draws of a block."""
    correlation, each = None, None
    if drawn.each is not None:
        correlation = average_draws(drawn.aggregate - drawn.each.sum(-1))
        each = average_draws(drawn.each - drawn.prior)

    return _Parts(
        kl=average_draws(drawn.own - drawn.log_prior),
        information=average_draws(drawn.own - drawn.aggregate),
        information_loo=average_draws(drawn.own - drawn.others),
        marginal=average_draws(drawn.aggregate - drawn.log_prior),
        total_correlation=correlation,
        dimension_kl=each,
        mean=drawn.mean.mean(0),
        noise=_find_noise(drawn.mean),
        levels=_average_levels(drawn),
    )


def _average_levels(drawn: Drawn) -> _LevelParts | None:
    if drawn.levels is None:
        return None

    own, known = drawn.levels.own, drawn.levels.own - drawn.levels.aggregate
    return _LevelParts(
        kl=average_draws(_take_steps(own) - drawn.prior),
        information=average_draws(_take_steps(known)),
    )


def _take_steps(sums: Tensor) -> Tensor:
    """The terms, from their sums so far, along the last dimension."""
    return sums.diff(dim=-1, prepend=torch.zeros_like(sums[..., :1]))


def _find_noise(mean: Tensor) -> Tensor:
    """The variance of the mean over draws of E_q[z | x], `[k, n, d]`, as far as it is known."""
    k = mean.shape[0]
    if k == 1:
        return torch.zeros_like(mean[0])

    return mean.var(0) / k


def _average_parts(parts: _Parts, sizes: dict[str, int], repeats: list[int]) -> Latents:
    """The means over the data."""
    n = len(parts.mean)
    # the noise of estimated means is no activity
    activity = (parts.mean.var(0, correction=0) - parts.noise.mean(0)).clamp(min=0)
    information_loo = Estimate(math.inf, math.nan)
    if n > 1:
        information_loo = average_data(parts.information_loo)
    correlation, each = None, None
    if parts.total_correlation is not None and parts.dimension_kl is not None:
        correlation = average_data(parts.total_correlation)
        each = average_data(parts.dimension_kl)

    return Latents(
        kl=average_data(parts.kl),
        information=average_data(parts.information),
        information_loo=information_loo,
        ceiling=find_entropy(repeats),
        count=n,
        distinct=len(repeats),
        marginal=average_data(parts.marginal),
        total_correlation=correlation,
        dimension_kl=each,
        activity=activity,
        active=activity > ACTIVE,
        levels=_list_levels(parts.levels, activity, sizes),
    )


def _list_levels(
    parts: _LevelParts | None, activity: Tensor, sizes: dict[str, int]
) -> dict[str, Level] | None:
    """The levels by site, from their parts and the activity of all dimensions."""
    if parts is None:
        return None

    kl, information = average_data(parts.kl), average_data(parts.information)
    each = activity.split(list(sizes.values()))
    return {
        name: Level(
            kl=_take_place(kl, place),
            information=_take_place(information, place),
            activity=each[place],
            active=each[place] > ACTIVE,
        )
        for place, name in enumerate(sizes)
    }


def _take_place(estimates: Estimate, place: int) -> Estimate:
    """One of several estimates, as floats."""
    return Estimate(estimates.value[place].item(), estimates.stderr[place].item())


def _measure_exactly(values: Tensor, weights: Weights, repeats: list[int]) -> Latents:
    """The sums over the values of a single latent, `[K, d]`, from the weights at each, `[K, n]`."""
    refuse_different(weights.log_prior)
    n = weights.log_prior.shape[1]
    log_q, log_p = weights.log_variational, weights.log_prior
    q = log_q.exp()
    aggregate = log_q.logsumexp(1, keepdim=True) - math.log(n)
    rest = (q.sum(1, keepdim=True) - q).clamp(min=0)
    others = (rest / max(n - 1, 1)).log()

    marginal = expect(q, aggregate - log_p)
    activity = (q.T @ values).var(0, correction=0)
    correlation, each = None, None
    if values.shape[1] == 1:
        correlation = Estimate(0.0, 0.0)
        each = Estimate(activity.new_tensor([marginal]), torch.zeros_like(activity))

    return Latents(
        kl=Estimate(expect(q, log_q - log_p), 0.0),
        information=Estimate(expect(q, log_q - aggregate), 0.0),
        information_loo=Estimate(expect(q, log_q - others), 0.0),
        ceiling=find_entropy(repeats),
        count=n,
        distinct=len(repeats),
        marginal=Estimate(marginal, 0.0),
        total_correlation=correlation,
        dimension_kl=each,
        activity=activity,
        active=activity > ACTIVE,
    )
