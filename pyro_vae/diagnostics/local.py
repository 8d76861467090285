"""q* of a block of data: a q that has parameters of its own for each datum."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from itertools import accumulate, pairwise

import torch
from pyro.distributions import MaskedDistribution
from pyro.distributions.util import scale_and_mask
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae.conditionals import Conditional
from pyro_vae.diagnostics.free import (
    SCALES,
    Factor,
    Free,
    explain_refusal,
    list_parameters,
    read_parameters,
    select_rows,
    unwrap,
)
from pyro_vae.diagnostics.normal_fit import LARGEST, Normals
from pyro_vae.diagnostics.unconstrained import Unconstrained, choose_support
from pyro_vae.supports import describe, is_real
from pyro_vae.weights.traces import drawn_sites, latent_sites, latent_values, trace

FIRST_DF = 10.0  # degrees of freedom at the start: nearly normal


class LocalQ(ABC):
    """q* of a block of data.

    Attributes:
        has_listed: Whether the guide lists latents. q* is then over the others, and the listed ones
            are summed over.
    """

    has_listed: bool

    @property
    @abstractmethod
    def free(self) -> list[Free]:
        """The free numbers."""

    @abstractmethod
    def draw(self, k: int, *, mirrored: bool = False) -> tuple[dict[str, Tensor], Tensor]:
        """Draws of z by site, `[k, n, *event]`, and log q(z), `[k, n]`.

        Arguments:
            k: How many.
            mirrored: Whether half of them mirror the others, where q is symmetric.
        """

    @abstractmethod
    def find_moments(self) -> tuple[Tensor, Tensor] | None:
        """Where q lies as one vector of unconstrained numbers: mean and spread, `[n, d]`.

        It is None where q cannot start at a normal over such vectors.
        """

    @abstractmethod
    def place(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The latents z by site of such vectors, `[k, n, d]`, and log|dz/du|, `[k, n]`."""

    @abstractmethod
    def start_at(self, normals: Normals, where: Tensor) -> "LocalQ":
        """The same q, started at normals over such vectors for the data where it holds, `[n]`."""


class OwnFamily(LocalQ):
    """q* with the guide's own distribution at each latent, starting at the guide's output.

    Arguments:
        pair: The pair.
        data: The block.

    Raises:
        ValueError: if the distribution at a latent is not made of parameters that can be free
            numbers, or depends on draws of another latent.
    """

    def __init__(self, pair: nn.Module, data: tuple):
        run, again = [trace(pair.guide, data) for _ in range(2)]
        first, second = drawn_sites(run), drawn_sites(again)
        drawn = latent_values(trace(pair.guide, data, draws=100))
        self.has_listed = len(first) < len(latent_sites(run))
        _refuse_none(first)

        self.masks: dict[str, list] = {}
        self.factors: dict[str, Factor] = {}
        for name, site in first.items():
            fn, self.masks[name] = _split_masks(site)
            other, _ = _split_masks(second[name])
            _refuse_site(name, fn, other, data[0].shape[0])
            base, reinterpreted = unwrap(fn)
            self.factors[name] = Factor(base, reinterpreted, find_spread(drawn[name]))

    @property
    def free(self) -> list[Free]:
        return [free for factor in self.factors.values() for free in factor.free]

    def draw(self, k: int, *, mirrored: bool = False) -> tuple[dict[str, Tensor], Tensor]:
        z, log_q = {}, torch.zeros(())
        for name, factor in self.factors.items():
            z[name], log_prob = factor.draw(k, mirrored=mirrored)
            for mask in self.masks[name]:
                log_prob = scale_and_mask(log_prob, mask=mask)
            log_q = log_q + log_prob
        return z, log_q

    def find_moments(self) -> tuple[Tensor, Tensor] | None:
        factors = self.factors.values()
        if any(self.masks.values()) or not all(factor.is_normal_like() for factor in factors):
            return None

        locs = _join([factor.values()["loc"].detach() for factor in factors])
        spreads = _join([factor.unit for factor in factors])
        return (locs, spreads) if locs.shape[1] <= LARGEST else None

    def place(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        parts = u.split([columns.stop - columns.start for columns in self._columns()], dim=-1)
        z = {
            name: part.reshape(*u.shape[:2], *factor.unit.shape[1:])
            for (name, factor), part in zip(self.factors.items(), parts, strict=True)
        }
        return z, torch.zeros_like(u[..., 0])

    def start_at(self, normals: Normals, where: Tensor) -> "OwnFamily":
        started = copy(self)
        started.factors = {
            name: factor.start_at(normals.block(columns), where)
            for (name, factor), columns in zip(self.factors.items(), self._columns(), strict=True)
        }
        return started

    def _columns(self) -> list[slice]:
        """Where the numbers of each latent are in a vector of all."""
        ends = [0, *accumulate(factor.unit[0].numel() for factor in self.factors.values())]
        return [slice(start, end) for start, end in pairwise(ends)]


def _join(parts: list[Tensor]) -> Tensor:
    """Numbers of each datum, `[n, *event]`, as one vector, `[n, d]`."""
    return torch.cat([part.reshape(len(part), -1) for part in parts], -1)


def _refuse_none(sites: dict[str, dict]) -> None:
    """Raise a ValueError if no latent is drawn."""
    if not sites:
        raise ValueError(
            "every latent is listed and summed over, so nothing is left to refit; posterior_gap is "
            "exact"
        )


def _split_masks(site: dict) -> tuple[Distribution, list]:
    """The distribution of a site without masks, and the masks of the site and the distribution."""
    fn, masks = site["fn"], [site["mask"]]
    while isinstance(fn, MaskedDistribution):
        masks.append(fn._mask)
        fn = fn.base_dist
    return fn, [mask for mask in masks if mask is not None and mask is not True]


def _refuse_site(name: str, fn: Distribution, again: Distribution, n: int) -> None:
    """Raise a ValueError if the distribution at a latent cannot be refitted.

    Arguments:
        name: The latent.
        fn: Its distribution.
        again: Its distribution when the guide is run again. It differs where it depends on draws.
        n: How many data there are.
    """
    base, _ = unwrap(fn)
    reason = explain_refusal(base)
    if reason is None and tuple(fn.batch_shape) != (n,):
        reason = f"has batch_shape {tuple(fn.batch_shape)}, expected ({n},)"
    if reason is None and not _has_same_parameters(base, unwrap(again)[0]):
        reason = "depends on draws of the other latents, which parameters for each datum cannot"
    if reason is None:
        return

    raise ValueError(
        f"q cannot be refitted in its own family: at latent {name!r}, {type(base).__name__} "
        f"{reason}. Pass another, family=pv.MultivariateNormal for one."
    )


def _has_same_parameters(a: Distribution, b: Distribution) -> bool:
    of_a, of_b = read_parameters(a), read_parameters(b)
    return all(torch.allclose(of_a[key], of_b[key]) for key in of_a)


class OtherFamily(LocalQ):
    """q* of any family over all latents of a datum together.

    They are one vector of unconstrained numbers. q* starts at the means and variances of draws of
    the guide.

    Arguments:
        pair: The pair.
        data: The block.
        family: Called with a number d, a family over vectors of d numbers with nothing given.

    Raises:
        TypeError: if that is no such family.
        ValueError: if it cannot be fitted for each datum, or started at the moments of q, or a
            latent is discrete, has no bijection to the reals, or is masked.
    """

    def __init__(self, pair: nn.Module, data: tuple, family: Callable[[int], Conditional]):
        run = trace(pair.guide, data, draws=200)
        q, every = drawn_sites(run), latent_values(run)
        z = {name: site["value"] for name, site in q.items()}
        p = latent_sites(trace(pair.model, data, draws=200, latents=every))
        supports = {
            name: choose_support(name, p[name]["fn"], site["fn"]) for name, site in q.items()
        }
        self.has_listed = len(q) < len(every)
        _refuse_none(q)
        for name, site in q.items():
            _refuse_mask(name, site)

        self.unconstrained = Unconstrained(z, supports, "posterior_gap")
        u = self.unconstrained.flatten(z)
        self.moments = u.mean(0), find_spread(u)
        self.vectors = _make_vectors(family, *self.moments)

    @property
    def free(self) -> list[Free]:
        return self.vectors.free

    def draw(self, k: int, *, mirrored: bool = False) -> tuple[dict[str, Tensor], Tensor]:
        u, log_q = self.vectors.draw(k, mirrored=mirrored)
        z, log_jacobian = self.place(u)
        return z, log_q - log_jacobian

    def find_moments(self) -> tuple[Tensor, Tensor] | None:
        mean, _ = self.moments
        return self.moments if mean.shape[1] <= LARGEST else None

    def place(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        return self.unconstrained.unflatten(u)

    def start_at(self, normals: Normals, where: Tensor) -> "OtherFamily":
        started = copy(self)
        started.vectors = self.vectors.start_at(normals, where)
        return started


def _refuse_mask(name: str, site: dict) -> None:
    _, masks = _split_masks(site)
    if masks:
        raise ValueError(
            f"latent {name!r} is masked, and another family has no mask: leave family= out"
        )


class Flows:
    """One flow for each datum, over vectors in units of a normal.

    Arguments:
        flows: The flows, one for each of the n data.
        normals: The normals.
    """

    def __init__(self, flows: list[Conditional], normals: Normals):
        self.flows = flows
        self.normals = normals
        self.free = [Free(raw, i) for i, flow in enumerate(flows) for raw in flow.parameters()]

    def draw(self, k: int, *, mirrored: bool = False) -> tuple[Tensor, Tensor]:
        """Draws, `[k, n, d]`, and their log-probabilities, `[k, n]`. No flow is symmetric."""
        draws, log_probs = [], []
        for flow in self.flows:
            q = flow()
            draws.append(q.rsample((k,)))
            log_probs.append(q.log_prob(draws[-1]))

        u = self.normals.place(torch.stack(draws, dim=1))
        return u, torch.stack(log_probs, dim=1) - self.normals.log_volume()

    def start_at(self, normals: Normals, where: Tensor) -> "Flows":
        """The same flows in units of other normals, for the data where it holds, `[n]`."""
        both = zip(normals, self.normals, strict=True)
        return Flows(
            self.flows, Normals(*[select_rows(where, new.to(old), old) for new, old in both])
        )


def _make_vectors(
    family: Callable[[int], Conditional], mean: Tensor, spread: Tensor
) -> Factor | Flows:
    """A family with parameters for each datum, started at moments `[n, d]`."""
    n, d = mean.shape

    q = _make_family(family, d).to(mean)
    base, reinterpreted = unwrap(q())
    reason = explain_refusal(base)
    if reason is None:
        start = _find_start(base, mean, spread)
        return Factor(base.expand((n, *base.batch_shape)), reinterpreted, spread, start)
    if _is_flow(base):
        others = [family(d).to(mean) for _ in range(n - 1)]
        return Flows([q, *others], Normals(mean, spread.diag_embed()))

    raise ValueError(
        f"family: {type(base).__name__} {reason}, so it cannot be fitted for each datum"
    )


def _make_family(family: Callable[[int], Conditional], d: int) -> Conditional:
    q = family(d)
    if not isinstance(q, Conditional) or q.given_shapes:
        raise TypeError(
            "family: expected a family that, called with a number, is a distribution over vectors "
            f"with nothing given, pv.MultivariateNormal for one; got {family!r}"
        )
    return q


def _is_flow(base: Distribution) -> bool:
    """Whether it is a distribution over the reals that a network makes, not parameters."""
    return base.has_rsample and not list_parameters(base) and is_real(base.support)


def _find_start(base: Distribution, mean: Tensor, spread: Tensor) -> dict[str, Tensor]:
    """The moments of draws of q, as parameters of a family with a location and a scale."""
    keys = set(list_parameters(base))
    if "loc" not in keys or not keys & SCALES or not is_real(base.support):
        raise ValueError(
            f"family: {type(base).__name__} over {describe(base.support)} with "
            f"{', '.join(sorted(keys))}; expected one over the reals with loc and one of scale, "
            "scale_tril, cov_diag, at which to start it"
        )

    start = {
        "loc": mean,
        "scale": spread,
        "scale_tril": spread.diag_embed(),
        "cov_diag": spread.square(),
        "df": torch.full_like(spread, FIRST_DF),
    }
    if "cov_factor" in keys:
        # at 0 its gradient would be 0 as well
        noise = torch.randn_like(base.cov_factor)
        start["cov_factor"] = 0.1 * spread.unsqueeze(-1) * noise
    return start


def find_spread(draws: Tensor) -> Tensor:
    """The standard deviation of draws, `[k, n, *event]`, never 0."""
    return draws.std(0).nan_to_num(1.0, 1.0, 1.0).clamp(min=1e-6)
