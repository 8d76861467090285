"""Simulation-based calibration: whether q(z | x) is the posterior, as far as ranks can tell."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_whole, is_real_number
from pyro_vae.diagnostics.ranks import (
    adjust_pvalues,
    choose_bins,
    combine_tests,
    count_ranks,
    find_pvalue,
    rank_among,
    score_curve,
    score_slope,
    score_spread,
)
from pyro_vae.diagnostics.templates import (
    Simulated,
    count_rows,
    find_observed_arguments,
    make_templates,
    simulate_data,
)
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.threads import sparing_threads
from pyro_vae.weights.traces import latent_sites, latent_values, quietly, trace
from pyro_vae.weights.weights import score_joint, sum_latent

# what is ranked of all dimensions together, and what it means if z* ranks too low or too high,
# where z* is the z that x was simulated from
JOINT = {
    "log q(z|x)": (
        "too narrow or misshapen: the z behind x lies where q is thin",
        "too wide: the z behind x lies where q is dense",
    ),
    "log p(x,z)": (
        "too narrow: draws of q explain x better than the z behind it",
        "off: the z behind x explains it better than draws of q do",
    ),
}


@dataclass(frozen=True)
class Calibration:
    """The ranks of z* among draws of q(z | x*), and what they say, for each dimension of z.

    Attributes:
        ranks: How many of the draws lie below z*, `[n, d]`, whole numbers from 0 to num_draws, or
            -1 where a mask hides the latent. Those are not judged.
        pvalue: Of a chi-squared test that they are uniform, `[d]`.
        slope: The z-score of their linear contrast, `[d]`. It is above 0 if q lies too low, below 0
            if it lies too high.
        curve: The z-score of their quadratic contrast, `[d]`. It is above 0 (a U) if q is
            over-confident, below 0 (a hump) if it is under-confident.
        names: The dimensions, "z[0]" and so on.
        num_draws: Draws of q(z | x*) for each datum.
        level: Of the verdict: the chance to find a fault anywhere if there is none.
        joint: How many of the draws have a smaller log q(z | x*), and how many a smaller
            log p(x*, z), than z* has, `[n, 2]`, or None.
    """

    ranks: Tensor
    pvalue: Tensor
    slope: Tensor
    curve: Tensor
    names: list[str]
    num_draws: int
    level: float
    joint: Tensor | None = None

    @property
    def adjusted(self) -> Tensor:
        """The p-values of chi-squared and slope together, `[d]`.

        They are adjusted for how many there are, those of the joint ranks as well (Holm, 1979).
        """
        return self._adjust()[: len(self.names)]

    @property
    def joint_adjusted(self) -> Tensor:
        """The same of the joint ranks, `[2]`, or `[0]` where there are none."""
        return self._adjust()[len(self.names) :]

    @property
    def joint_pvalue(self) -> Tensor:
        """Of a chi-squared test that the joint ranks are uniform, `[2]`, or `[0]`."""
        if self.joint is None:
            return self.pvalue.new_empty(0)

        return find_pvalue(self.joint, self.num_draws)

    @property
    def passed(self) -> bool:
        """Whether no fault was found, in any dimension or jointly."""
        return bool((self._adjust() >= self.level).all())

    def _adjust(self) -> Tensor:
        return adjust_pvalues(_judge_each(combine_tests, self._join_ranks(), self.num_draws, 1.0))

    def faults(self) -> list[str]:
        """What is wrong with each dimension, in words. It is empty where nothing was found.

        A bias piles the ranks up at one end, and that by itself bends the histogram. Where there is
        one, the width of q is judged by the spread of the ranks' normal scores about their own
        mean.
        """
        pvalues = self.adjusted.tolist()

        return [
            self._describe_fault(j) if pvalue < self.level else ""
            for j, pvalue in enumerate(pvalues)
        ]

    def joint_faults(self) -> list[str]:
        """What is wrong with q of all dimensions together, in words: by log q and by log p(x, z).

        Each is empty where nothing was found.
        """
        if self.joint is None:
            return []

        is_high = (score_slope(self.joint, self.num_draws) > 0).tolist()
        is_wrong = (self.joint_adjusted < self.level).tolist()
        words = [JOINT[name][high] for name, high in zip(JOINT, is_high, strict=True)]
        return [word if wrong else "" for word, wrong in zip(words, is_wrong, strict=True)]

    def _describe_fault(self, j: int) -> str:
        limit = self._find_limit()
        slope, curve = self.slope[j].item(), self.curve[j].item()
        bias = _describe_bias(slope, limit)
        if bias:
            curve = score_spread(_take_there(self.ranks, j)[:, 0], self.num_draws)
        width = _describe_width(curve, limit)

        # what is further off comes first
        words = [bias, width] if abs(slope) > abs(curve) else [width, bias]
        said = [word for word in words if word]
        return "; ".join(said) or "not the posterior: ranks of another shape"

    def _find_limit(self) -> float:
        """The z-score from which a contrast is named, for d dimensions and two of them each."""
        share = torch.tensor(self.level / (4 * len(self.names)), dtype=torch.float64)

        return -torch.special.ndtri(share).item()

    def histogram(self, bins: int | None = None) -> tuple[Tensor, Tensor]:
        """Counts of the ranks, and the share of each bin that is expected, `[bins]`.

        The counts are `[bins, d]`, or `[bins, d + 2]` with the joint ranks last.
        """
        if bins is None:
            bins = choose_bins(len(self.ranks), self.num_draws)

        ranks = self._join_ranks()
        found = [
            count_ranks(_take_there(ranks, j), self.num_draws, bins) for j in range(ranks.shape[1])
        ]
        return torch.cat([counts for counts, _ in found], 1), found[0][1]

    def _join_ranks(self) -> Tensor:
        """The ranks of all dimensions, and the joint ones last."""
        return self.ranks if self.joint is None else torch.cat([self.ranks, self.joint], -1)

    def as_dict(self) -> dict:
        """Numbers for a JSON file."""
        rows = self._list_rows()
        d = len(self.names)

        return {
            "simulated": len(self.ranks),
            "num_draws": self.num_draws,
            "level": self.level,
            "passed": self.passed,
            "dimensions": dict(zip(self.names, rows[:d], strict=True)),
            "joint": dict(zip(JOINT, rows[d:], strict=False)),
        }

    def _list_rows(self) -> list[dict]:
        """What is said of each dimension, and of the joint ranks last."""
        ranks = self._join_ranks()
        columns = {
            "pvalue": _judge_each(find_pvalue, ranks, self.num_draws, 1.0).tolist(),
            "adjusted_pvalue": self._adjust().tolist(),
            "slope": _judge_each(score_slope, ranks, self.num_draws, 0.0).tolist(),
            "curve": _judge_each(score_curve, ranks, self.num_draws, 0.0).tolist(),
            "fault": [*self.faults(), *self.joint_faults()],
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def __str__(self) -> str:
        return "\n".join([*self._write_head(), *self._write_rows(), "", self._write_verdict()])

    __repr__ = __str__

    def _write_head(self) -> list[str]:
        return [
            f"Simulation-based calibration: {len(self.ranks)} simulated z*, x*; "
            f"{self.num_draws} draws of q(z|x*) each",
            "",
            f"{'dimension':<{self._width}}  {'p':>8}  {'p (Holm)':>8}  {'slope':>7}  {'curve':>7}",
        ]

    def _write_rows(self) -> list[str]:
        lines = []
        for name, row in zip([*self.names, *JOINT], self._list_rows(), strict=False):
            cells = [
                f"{name:<{self._width}}",
                f"{row['pvalue']:8.2g}",
                f"{row['adjusted_pvalue']:8.2g}",
                f"{row['slope']:7.1f}",
                f"{row['curve']:7.1f}",
                row["fault"],
            ]
            lines.append("  ".join(cells).rstrip())
        return lines

    def _write_verdict(self) -> str:
        if not any(self.faults()) and any(self.joint_faults()):
            return (
                "jointly at fault, though no dimension is by itself: q(z|x) is not the posterior "
                f"of the model's own data (level {self.level:g})"
            )
        faults = self.faults()
        wrong = sum(map(bool, faults))
        verdict = (
            f"{wrong} of {len(faults)} dimensions at fault: "
            "q(z|x) is not the posterior of the model's own data"
        )
        if not wrong:
            verdict = (
                "no fault found: the ranks are uniform, as they are if q(z|x) is the posterior "
                "(and not only then)"
            )

        return f"{verdict} (level {self.level:g})"

    @property
    def _width(self) -> int:
        return max(10, *map(len, self.names))


def _describe_bias(slope: float, limit: float) -> str:
    if slope > limit:
        return "biased: q lies too low"
    if slope < -limit:
        return "biased: q lies too high"
    return ""


def _describe_width(curve: float, limit: float) -> str:
    if curve > limit:
        return "over-confident: q is too narrow"
    if curve < -limit:
        return "under-confident: q is too wide"
    return ""


@sparing_threads("num_draws")
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

    If q is the posterior, the ranks are uniform on 0, ..., num_draws. A slope means that q is
    biased, a U that it is over-confident, a hump that it is under-confident. Ties, of discrete
    latents, are broken at random. Where a mask hides a latent there is nothing to judge. (Talts,
    Betancourt, Simpson, Vehtari & Gelman, 2018)

    Dimensions that are right one by one can be wrong together. So log q(z* | x*) and log p(x*, z*)
    are ranked as well, among those of the draws. They find a wrong correlation, and q = p(z) for
    every x, which the other ranks pass. (Modrák, Moon, Kim, Bürkner, Huurre, Faltejsková, Gelman &
    Vehtari, 2023)

    The verdict takes the smaller p-value of a chi-squared test and of the slope, and counts all of
    them. Uniform ranks do not prove that q is the posterior. And x* are the model's data, not those
    it was trained on.

    Arguments:
        pair: Any pair.
        data: What the model is called with. What it observes is a template: as many rows are
            simulated as it has. For a `VAE` the number itself will do. Around a thousand are enough
            to see faults that matter.
        num_draws: Draws of q(z | x*) for each.
        level: The chance to report a fault, in any dimension, if there is none.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Calibration`. Its `str` is a table.

    Raises:
        TypeError: if num_draws or level is no such number.
        ValueError: if the guide and the model have not the same latents, there are too few data, or
            what is observed is neither an argument of the model nor views of one.

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
    num_draws = check_whole("num_draws", num_draws)
    level = _check_level(level)
    n = count_rows(data)

    data, few = make_templates(pair, data, n)
    find_observed_arguments(pair, few)  # refuses what cannot be simulated
    with quietly(pair):
        latents = latent_values(trace(pair.guide, few))

    ranks, joint = [], []
    with progress_bar(n, "simulating", show=progress, unit="datum") as bar:
        for block in _cut_templates(data, latents, num_draws):
            simulated = simulate_data(pair, block)
            drawn = _draw_latents(pair, simulated.data, num_draws)
            ranks.append(_rank_dimensions(simulated, drawn))
            joint.append(_rank_densities(pair, simulated, drawn))
            bar.update(block[0].shape[0])

    return judge_ranks(
        torch.cat(ranks),
        num_draws,
        level=level,
        names=_name_dimensions(latents),
        joint=torch.cat(joint),
    )


def judge_ranks(
    ranks: Tensor,
    num_draws: int,
    *,
    level: float = 0.01,
    names: list[str] | None = None,
    joint: Tensor | None = None,
) -> Calibration:
    """What ranks `[n, d]` of the truth among `num_draws` draws say, and joint ones `[n, 2]`."""
    if names is None:
        names = [f"z[{j}]" for j in range(ranks.shape[1])]

    return Calibration(
        ranks=ranks,
        pvalue=_judge_each(find_pvalue, ranks, num_draws, 1.0),
        slope=_judge_each(score_slope, ranks, num_draws, 0.0),
        curve=_judge_each(score_curve, ranks, num_draws, 0.0),
        names=names,
        num_draws=num_draws,
        level=level,
        joint=joint,
    )


def _judge_each(
    judge: Callable[[Tensor, int], Tensor], ranks: Tensor, num_draws: int, otherwise: float
) -> Tensor:
    """What the ranks of each dimension say, `[d]`, or another number where there are none."""
    nothing = torch.tensor([otherwise], dtype=torch.float64)
    columns = [_take_there(ranks, j) for j in range(ranks.shape[1])]

    return torch.cat([judge(ranks, num_draws) if len(ranks) else nothing for ranks in columns])


def _take_there(ranks: Tensor, j: int) -> Tensor:
    """The ranks of a dimension in the rows where it exists, `[rows, 1]`."""
    return ranks[ranks[:, j] >= 0, j : j + 1]


def _check_level(level: float) -> float:
    message = f"level: expected a number between 0 and 1, got {level!r}"
    if not is_real_number(level):
        raise TypeError(message)
    if not 0 < level < 1:
        raise ValueError(message)

    return float(level)


def _cut_templates(
    data: tuple, latents: dict[str, Tensor], num_draws: int
) -> Iterator[tuple[Tensor, ...]]:
    """Blocks in which the draws of z, each decoded, are not too many numbers."""
    d = sum(value[0].numel() for value in latents.values())
    rows = count_fitting((num_draws + 1) * max(count_numbers(data[0]), d))

    return (block for _, block in cut(data, rows))


def _draw_latents(pair: nn.Module, data: tuple, num_draws: int) -> dict[str, dict]:
    """The latent sites of so many draws of q(z | x*), by name."""
    with quietly(pair):
        return latent_sites(trace(pair.guide, data, draws=num_draws))


def _rank_dimensions(simulated: Simulated, drawn: dict[str, dict]) -> Tensor:
    """The ranks of each number of z* among draws of q(z | x*), `[rows, d]`."""
    ranks = [_rank_site(simulated.latents[name], site) for name, site in drawn.items()]
    return torch.cat(ranks, -1).cpu()


def _rank_densities(pair: nn.Module, simulated: Simulated, drawn: dict[str, dict]) -> Tensor:
    """The ranks of log q(z* | x*) and log p(x*, z*) among those of draws of q, `[rows, 2]`.

    z* is scored beside the draws, in one run, so that rounding is the same for all.
    """
    data = simulated.data
    z = {name: _join_truth(simulated.latents[name], site["value"]) for name, site in drawn.items()}
    count = len(next(iter(z.values())))
    shape = (count, data[0].shape[0])

    with quietly(pair):
        log_q = sum_latent(trace(pair.guide, data, draws=count, latents=z), shape, data[0])
        log_likelihood, log_prior = score_joint(pair, data, count, z)

    scores = torch.stack([log_q, log_likelihood + log_prior], -1)
    return rank_among(scores[0], scores[1:]).cpu()


def _join_truth(truth: Tensor, draws: Tensor) -> Tensor:
    """The true value of a latent, `[rows, *event]`, and draws of it, `[1 + k, rows, *event]`."""
    draws = draws.expand(draws.shape[0], *truth.shape)

    return torch.cat([truth[None].to(draws), draws])


def _rank_site(truth: Tensor, site: dict) -> Tensor:
    """The ranks of the true values of a latent, `[rows, d]`, or -1 where a mask hides it."""
    draws = site["value"]
    ranks = rank_among(truth, draws)
    if site["mask"] is None:
        return ranks

    is_there = torch.as_tensor(site["mask"], device=draws.device).expand(draws.shape[:2])[0]
    return torch.where(is_there[:, None], ranks, -1)


def _name_dimensions(latents: dict[str, Tensor]) -> list[str]:
    """The dimensions of latents `[n, *event]`: "z[0]" and so on, or "z" for a single number."""
    names = []
    for name, value in latents.items():
        for index in np.ndindex(*value.shape[1:]):
            place = ", ".join(map(str, index))
            names.append(f"{name}[{place}]" if index else name)
    return names
