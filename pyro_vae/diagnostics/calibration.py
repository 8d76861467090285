"""Simulation-based calibration: is q(z | x) the posterior, as far as its ranks can tell?"""

from typing import NamedTuple

import numpy as np
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vae.progress import progress_bar
from pyro_vae.weights import blocks, traces
from pyro_vae.weights.draws import simulate
from pyro_vae.weights.traces import quietly, sample_sites, trace

BINS = 20


class Calibration(NamedTuple):
    """The ranks of z* among draws of q(z | x*), and what they say, for each dimension of z.

    Attributes:
        ranks: How many of the draws lie below z*, `[n, d]`, whole numbers from 0 to num_draws.
        pvalue: Of a chi-squared test that they are uniform, `[d]`.
        slope: The z-score of their linear contrast, `[d]`: above 0 if q lies too low, below 0 if it
            lies too high.
        curve: The z-score of their quadratic contrast, `[d]`: above 0 (a U) if q is over-confident,
            below 0 (a hump) if it is under-confident.
        names: The dimensions, "z[0]" and so on.
        num_draws: Draws of q(z | x*) for each datum.
        level: Of the verdict: the chance to find a fault in any dimension if there is none.
    """

    ranks: Tensor
    pvalue: Tensor
    slope: Tensor
    curve: Tensor
    names: list[str]
    num_draws: int
    level: float

    @property
    def adjusted(self) -> Tensor:
        """The p-values, adjusted for there being d of them, `[d]` (Holm, 1979)."""
        d = len(self.pvalue)
        order = self.pvalue.argsort()
        steps = torch.arange(d, 0, -1, dtype=self.pvalue.dtype) * self.pvalue[order]
        return torch.empty_like(steps).scatter_(0, order, steps.cummax(0).values.clamp(max=1))

    @property
    def passed(self) -> bool:
        """Whether no dimension was found at fault."""
        return bool((self.adjusted >= self.level).all())

    def faults(self) -> list[str]:
        """What is wrong with each dimension, in words; empty where nothing was found.

        A bias piles the ranks up at one end, and that by itself bends the histogram; where there is
        one, the width of q is judged by the spread of the ranks' normal scores about their own
        mean.
        """
        limit = -torch.special.ndtri(
            torch.tensor(self.level / (4 * len(self.names)), dtype=torch.float64)
        ).item()
        said = []
        for j, p in enumerate(self.adjusted.tolist()):
            slope, curve = self.slope[j].item(), self.curve[j].item()
            words = []
            if abs(slope) > limit:
                words.append(f"biased: q lies too {'low' if slope > 0 else 'high'}")
                curve = _spread(self.ranks[:, j], self.num_draws)
            if abs(curve) > limit:
                words.append(
                    "over-confident: q is too narrow"
                    if curve > 0
                    else "under-confident: q is too wide"
                )
            words.sort(key=lambda word: word.startswith("biased") != (abs(slope) > abs(curve)))
            words = words or ["not the posterior: ranks of another shape"]
            said.append("; ".join(words) if p < self.level else "")
        return said

    def histogram(self, bins: int | None = None) -> tuple[Tensor, Tensor]:
        """Counts of the ranks `[bins, d]`, and the share of each bin that is expected `[bins]`."""
        n, possible = len(self.ranks), self.num_draws + 1
        bins = max(1, min(BINS, possible, max(2, n // 5))) if bins is None else bins
        return _histogram(self.ranks, self.num_draws, bins)

    def as_dict(self) -> dict:
        """Numbers for a JSON file."""
        return {
            "simulated": len(self.ranks),
            "num_draws": self.num_draws,
            "level": self.level,
            "passed": self.passed,
            "dimensions": {
                name: {"pvalue": p, "adjusted_pvalue": a, "slope": s, "curve": c, "fault": fault}
                for name, p, a, s, c, fault in zip(
                    self.names,
                    self.pvalue.tolist(),
                    self.adjusted.tolist(),
                    self.slope.tolist(),
                    self.curve.tolist(),
                    self.faults(),
                )
            },
        }

    def __str__(self) -> str:
        faults = self.faults()
        width = max(9, *map(len, self.names))
        lines = [
            f"Simulation-based calibration: {len(self.ranks)} simulated z*, x*; {self.num_draws} draws of q(z|x*) each",
            "",
            f"{'dimension':<{width}}  {'p':>8}  {'p (Holm)':>8}  {'slope':>7}  {'curve':>7}",
        ]
        rows = zip(
            self.names,
            self.pvalue.tolist(),
            self.adjusted.tolist(),
            self.slope.tolist(),
            self.curve.tolist(),
        )
        for (name, p, adjusted, slope, curve), fault in zip(rows, faults):
            line = (
                f"{name:<{width}}  {p:8.2g}  {adjusted:8.2g}  {slope:7.1f}  {curve:7.1f}  {fault}"
            )
            lines.append(line.rstrip())
        wrong = sum(map(bool, faults))
        verdict = (
            "no fault found: the ranks are uniform, as they are if q(z|x) is the posterior (and not only then)"
            if not wrong
            else f"{wrong} of {len(faults)} dimensions at fault: q(z|x) is not the posterior of the model's own data"
        )
        return "\n".join([*lines, "", f"{verdict} (level {self.level:g})"])

    __repr__ = __str__


def calibrate(
    pair: nn.Module,
    *data: Tensor | int,
    num_draws: int = 99,
    level: float = 0.01,
    progress: bool = True,
) -> Calibration:
    r"""Simulation-based calibration of the guide, without refitting it.

    .. math:: z^* \sim p(z), \quad x^* \sim p(x|z^*), \quad
        r_j = \#\{k : z_{kj} < z^*_j\}, \quad z_k \sim q(z|x^*)

    If q is the posterior the ranks are uniform on 0, ..., num_draws. A slope means that q is
    biased, a U that it is over-confident, a hump that it is under-confident. Ties, of discrete
    latents, are broken at random. (Talts, Betancourt, Simpson, Vehtari & Gelman, 2018)

    What it cannot see: uniform ranks do not prove that q is the posterior (q = p(z) for every x has
    them too), the dimensions are judged one by one, and x* are the model's data, not those it was
    trained on.

    Arguments:
        pair: Any pair.
        data: What the model is called with; x is a template of which as many rows are simulated as
            it has. For a `VAE` the number itself will do. Around a thousand are enough to see
            faults that matter.
        num_draws: Draws of q(z | x*) for each.
        level: The chance to report a fault, in any dimension, if there is none.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Calibration`; its `str` is a table.

    Raises:
        ValueError: if the guide and the model have not the same latents, there are too few data, or
            it cannot be told which argument of the model x is.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> found = calibrate(vae, 200)
        >>> found.ranks.shape
        torch.Size([200, 2])
    """
    if not isinstance(num_draws, int) or num_draws < 1:
        raise ValueError(f"num_draws: expected a positive whole number, got {num_draws!r}")
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level!r}")
    if not data:
        raise ValueError("x: expected a template of the data, or a number of data, got nothing")
    n = data[0] if isinstance(data[0], int) else data[0].shape[0]
    if n < 10:
        raise ValueError(
            f"data: expected ten rows or more to simulate, for a test of uniformity, got {n}"
        )
    device = next((p.device for p in pair.parameters()), None)
    data = tuple(d if isinstance(d, int) else d.to(device or d.device) for d in data)

    rest = tuple(d[:2] for d in data[1:])
    first = simulate(pair, 2, *rest)["x"] if isinstance(data[0], int) else data[0][:2]
    places = _places(pair, (first, *rest))
    with quietly(pair):
        drawn = traces.latent_values(trace(pair.guide, (first, *rest)))
    d = sum(value[0].numel() for value in drawn.values())
    rows = max(1, blocks.KEPT // max(1, first[0].numel(), num_draws * d))
    ranks = []
    with progress_bar(n, "simulating", show=progress, unit="datum") as bar:
        for start in range(0, n, rows):
            size = min(rows, n - start)
            part = [size if isinstance(d, int) else d[start : start + size] for d in data]
            simulated = simulate(pair, *part)
            for place, name in places.items():
                part[place] = simulated[name]
            with quietly(pair):
                draws = traces.latent_values(trace(pair.guide, tuple(part), draws=num_draws))
            ranks.append(
                torch.cat([_ranks(simulated[name], draws[name]) for name in draws], -1).cpu()
            )
            bar.update(size)
    names = []
    for name, value in drawn.items():
        names += [
            name + (f"[{', '.join(map(str, at))}]" if at else "")
            for at in np.ndindex(*value.shape[1:])
        ]
    return calibration_of(torch.cat(ranks), num_draws, level=level, names=names)


def calibration_of(
    ranks: Tensor, num_draws: int, *, level: float = 0.01, names: list[str] | None = None
) -> Calibration:
    """The tests of ranks `[n, d]` among `num_draws` draws."""
    u = (ranks.double() + 0.5) / (num_draws + 1) - 0.5
    all_u = (torch.arange(num_draws + 1).double() + 0.5) / (num_draws + 1) - 0.5
    square = all_u.square()
    root_n = len(ranks) ** 0.5
    slope = root_n * u.mean(0) / square.mean().sqrt()
    curve = (
        root_n * (u.square().mean(0) - square.mean()) / square.std(correction=0).clamp(min=1e-12)
    )
    names = [f"z[{j}]" for j in range(ranks.shape[1])] if names is None else names
    found = Calibration(ranks, torch.ones_like(slope), slope, curve, names, num_draws, level)
    counts, share = found.histogram()
    expected = (share * len(ranks))[:, None].expand_as(counts)
    statistic = ((counts - expected).square() / expected).sum(0)
    freedom = torch.full_like(statistic, len(counts) - 1)
    return found._replace(pvalue=torch.special.gammaincc(freedom / 2, statistic / 2))


def _spread(ranks: Tensor, num_draws: int) -> float:
    """The z-score of the variance of normal scores about their mean: above 0 if q is too narrow; 0 if unknown.

    Ranks that pile up at an end only lower the variance, so a low one tells nothing if they do.
    """
    scores = torch.special.ndtri((torch.arange(num_draws + 1).double() + 0.5) / (num_draws + 1))
    square = (scores[ranks] - scores[ranks].mean()).square()
    z = (
        len(ranks) ** 0.5
        * (square.mean() - scores.var(correction=0)).item()
        / max(square.std().item(), 1e-12)
    )
    ends = max((ranks == end).double().mean().item() for end in (0, num_draws))
    return 0.0 if z < 0 and ends > 1 / (num_draws + 1) else z


def _histogram(ranks: Tensor, num_draws: int, bins: int) -> tuple[Tensor, Tensor]:
    bin_of = torch.arange(num_draws + 1) * bins // (num_draws + 1)
    counts = nn.functional.one_hot(bin_of[ranks], bins).sum(0).T.double()
    return counts, bin_of.bincount(minlength=bins).double() / (num_draws + 1)


def _ranks(truth: Tensor, draws: Tensor) -> Tensor:
    """How many draws `[k, n, *event]` lie below the truth `[n, *event]`, ties broken at random, `[n, d]`."""
    below, equal = (draws < truth).sum(0), (draws == truth).sum(0)
    share = torch.rand(equal.shape, device=equal.device, dtype=torch.float64)
    return (below + (share * (equal + 1)).long()).reshape(truth.shape[0], -1)


def _places(pair: nn.Module, few: tuple) -> dict[int, str]:
    """Which arguments of the model are observed, and at which sites."""
    with quietly(pair):
        guide, model = trace(pair.guide, few), trace(poutine.uncondition(pair.model), few)
    sites = sample_sites(model)
    observed = {
        name: site["infer"]["obs"]
        for name, site in sites.items()
        if site["infer"].get("was_observed")
    }
    inner, outer = set(sites) - set(observed), set(traces.latent_values(guide))
    if inner != outer:
        raise ValueError(
            f"the latents of the model, {', '.join(sorted(inner)) or 'none'}, are not those of the guide, "
            f"{', '.join(sorted(outer)) or 'none'}; sample the same in both"
        )
    places = {
        place: name for name, obs in observed.items() for place, d in enumerate(few) if obs is d
    }
    if len(places) < len(observed) or not observed:
        lost = ", ".join(sorted(set(observed) - set(places.values()))) or "nothing"
        raise ValueError(
            f"the model observes {lost}, not one of its arguments as it is, so what is simulated cannot be given "
            "to the guide; pass the data as they are observed, obs=x"
        )
    return places
