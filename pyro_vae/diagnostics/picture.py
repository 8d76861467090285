"""The Bayesian picture, measured: log p(x) = ELBO + KL(q(z | x) ‖ p(z | x)), term by term."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.arguments import check_pair, check_whole
from pyro_vae.diagnostics.aggregate import NoAggregateError
from pyro_vae.diagnostics.annealing import Annealed, annealed_log_evidence
from pyro_vae.diagnostics.calibration import Calibration, calibrate
from pyro_vae.diagnostics.elbo import Elbo, estimate_elbo
from pyro_vae.diagnostics.estimate import Estimate, join_blocks, subtract
from pyro_vae.diagnostics.evidence import Evidence, estimate_evidence
from pyro_vae.diagnostics.gaps import InferenceGaps, estimate_gap, inference_gaps
from pyro_vae.diagnostics.latents import Latents, latents, write_active
from pyro_vae.diagnostics.log_weights import weigh_data
from pyro_vae.diagnostics.pareto import FEW, khat_threshold
from pyro_vae.diagnostics.second_look import SecondLook, look_again
from pyro_vae.diagnostics.shares import measure_shares
from pyro_vae.diagnostics.table import (
    Row,
    list_elbo,
    list_evidence,
    list_gaps,
    list_latents,
    write_rows,
)
from pyro_vae.pairs.admission import ChecksData
from pyro_vae.weights.intake import admit, as_rows, find_device
from pyro_vae.weights.threads import sparing_threads
from pyro_vae.weights.traces import quietly, sample_sites, split_sites, trace
from pyro_vae.weights.weights import Weights

AGGREGATE = 3000  # data of which the aggregate q(z) is made; its cost is their square
SHOWN = 8  # latents or observed sites that have a row each


@dataclass(frozen=True)
class Picture:
    """The picture of a pair and data. Printed, it is a table of means over the data.

    Attributes:
        evidence: log p(x) by importance sampling, per datum.
        elbo: The ELBO and its two terms, per datum.
        gap: KL(q(z | x) ‖ p(z | x)), per datum: the log p(x) that the table shows, less the ELBO.
        num_samples: Draws of q(z | x) for each datum.
        latents: The KL term over all data (the first 3,000 at most), taken apart.
        annealed: log p(x) by annealing, in place of importance sampling in the table, or None.
        gaps: What of the gap is the family's and what the encoder's, or None.
        calibration: Of q(z | x) on simulated data, or None.
        second_look: log p(x) of the first 100 data by draws of the prior, or None where z has more
            than three numbers, or is masked, or is summed over.
        left_out: Why the KL term is not taken apart, where it is not, or None.
        note: What log p(x) is of, where it is not x alone in every row, or None.
    """

    evidence: Evidence
    elbo: Elbo
    gap: Estimate
    num_samples: int
    latents: Latents | None = None
    annealed: Annealed | None = None
    gaps: InferenceGaps | None = None
    calibration: Calibration | None = None
    second_look: SecondLook | None = None
    left_out: str | None = None
    note: str | None = None

    @property
    def log_evidence(self) -> Estimate:
        """The log p(x) that the table shows, per datum."""
        return self.evidence if self.annealed is None else self.annealed

    def table(self) -> list[Row]:
        """The rows, in the order of the two equations."""
        rows = list_evidence(self.log_evidence, self.elbo, self.gap)
        if self.gaps is not None:
            rows += list_gaps(self.gaps)
        rows += list_elbo(self.elbo)
        if self.latents is not None:
            rows += list_latents(self.latents, len(self.elbo.value))
        return rows

    def rows(self) -> dict[str, tuple[float, float, float]]:
        """By term: the mean over data, its Monte Carlo error, and its error over the data."""
        return {
            row.label.lstrip(" =+-"): (row.mean, row.stderr, row.spread) for row in self.table()
        }

    def untrusted(self) -> float:
        """The share of the data whose k̂ is above its threshold."""
        is_trusted = self.evidence.khat <= khat_threshold(self.num_samples)

        return (~is_trusted).double().mean().item()

    def warnings(self) -> list[str]:
        """What to trust less and why, that of most data first. It is empty if nothing is."""
        doubts = self._doubt_evidence() if self.annealed is None else self.annealed.doubts()
        if self.second_look is not None:
            doubts += self.second_look.doubts()
        for part in (self.gaps, self.latents):
            doubts += [(1.0, said) for said in (part.warnings() if part is not None else [])]
        doubts += [(1.0, said) for said in self._doubt_guide()]

        return [said for _, said in sorted(doubts, key=lambda doubt: -doubt[0])]

    def _doubt_evidence(self) -> list[tuple[float, str]]:
        """Doubts of importance sampling, each with the share of the data that it is of."""
        untrusted = self.untrusted()
        few = (self.evidence.ess < FEW).double().mean().item()
        doubts = [
            (
                untrusted,
                f"q(z|x) is too narrow for {100 * untrusted:.3g} % of the data (k̂ above "
                f"{khat_threshold(self.num_samples):.2f}): their log p(x) and KL to p(z|x) come "
                "out too low, and the errors too small",
            ),
            (
                few,
                f"fewer than {FEW} effective samples for {100 * few:.3g} % of the data: "
                "take more draws",
            ),
        ]

        return [doubt for doubt in doubts if doubt[0] > 0]

    def _doubt_guide(self) -> list[str]:
        """Faults of q(z | x) on simulated data."""
        if self.calibration is None:
            return []

        named = zip(self.calibration.names, self.calibration.faults(), strict=True)
        faults = [(f"q of {name}", fault) for name, fault in named]
        faults += [("q(z|x) as a whole", fault) for fault in self.calibration.joint_faults()]

        return [f"on simulated data {what} is {fault}" for what, fault in faults if fault]

    def as_dict(self) -> dict:
        """Numbers for a JSON file."""
        method = "importance sampling" if self.annealed is None else "annealed importance sampling"
        notes = {
            "unit": "nats per datum",
            "data": len(self.gap.value),
            "num_samples": self.num_samples,
            "log p(x) by": method,
            "terms": {name: _name_numbers(numbers) for name, numbers in self.rows().items()},
            "median_ess": self.evidence.ess.median().item(),
            "median_khat": self.evidence.khat.median().item(),
            "share_khat_above_threshold": self.untrusted(),
            "warnings": self.warnings(),
        }
        if self.latents is not None:
            notes["active"] = self.latents.active.tolist()
        if self.note is not None:
            notes["note"] = self.note
        if self.calibration is not None:
            notes["calibration"] = self.calibration.as_dict()
        return notes

    def __str__(self) -> str:
        head = f"The Bayesian picture: means over {len(self.elbo.value)} data, in nats"

        return "\n".join([head, *write_rows(self.table()), "", *self._write_notes(), *self._warn()])

    __repr__ = __str__

    def _write_notes(self) -> list[str]:
        rows = self.rows()
        spread = ", ".join(f"{name} {rows[name][2]:.3f}" for name in ("log p(x)", "ELBO"))
        ess, khat = self.evidence.ess.median().item(), self.evidence.khat.median().item()
        lines = [
            f"± is the Monte Carlo standard error; over the data it is {spread}.",
            f"{self.num_samples} draws of q(z|x) for each datum: median effective sample size "
            f"{ess:.0f}, median k̂ {khat:.2f}.",
            self._write_method(),
        ]
        if self.note is not None:
            lines.append(self.note)
        if self.latents is not None:
            lines.append(self._write_active(self.latents))
        if self.left_out is not None:
            lines.append(f"The KL term is not taken apart: {self.left_out}.")
        if self.calibration is not None:
            passed, count = self.calibration.passed, len(self.calibration.ranks)
            verdict = "no fault found" if passed else "q(z|x) differs from the posterior"
            lines.append(f"Calibration on {count} simulated data: {verdict}.")
        return lines

    def _warn(self) -> list[str]:
        """The warnings as a list, with a heading."""
        warnings = self.warnings()
        if not warnings:
            return []

        count = f"{len(warnings)} notes" if len(warnings) > 1 else "1 note"
        return ["", f"What to trust less, {count}:", *map("- {}".format, warnings)]

    def _write_active(self, latents: Latents) -> str:
        said = f"{int(latents.active.sum())} of {len(latents.active)} dimensions of z are active"
        if latents.levels is not None and len(latents.levels) <= SHOWN:
            each = [f"{name} {write_active(level)}" for name, level in latents.levels.items()]
            said += ": " + ", ".join(each)
        return said + "."

    def _write_method(self) -> str:
        if self.annealed is None:
            return "log p(x) by importance sampling, in expectation a lower bound."

        temperatures, chains = len(self.annealed.betas) - 1, len(self.annealed.log_weights)
        acceptance = self.annealed.acceptance.mean().item()
        ess = self.annealed.ess.median().item()
        return (
            f"log p(x) by annealing, {temperatures} temperatures × {chains} chains: acceptance "
            f"{acceptance:.2f}, median effective chains {ess:.1f}."
        )


def _name_numbers(numbers: tuple[float, float, float]) -> dict[str, float | None]:
    """The numbers of a row by name. JSON has none that is not finite, so that becomes None."""
    names = ("mean", "stderr", "stderr_over_data")
    finite = [number if math.isfinite(number) else None for number in numbers]

    return dict(zip(names, finite, strict=True))


def picture(
    pair: nn.Module,
    *data: Tensor,
    num_samples: int = 5000,
    num_steps: int = 0,
    num_chains: int = 10,
    refit_steps: int = 0,
    simulations: int = 0,
    progress: bool = True,
) -> Picture:
    r"""Measure how far q(z | x) is from the true posterior p(z | x), and what the ELBO is made of.

    .. math::
        \log p(x) &= \mathrm{ELBO} + KL(q(z|x) \,\|\, p(z|x)) \\
        \mathrm{ELBO} &= E_q \log p(x|z) - KL(q(z|x) \,\|\, p(z))

    Without annealing these five terms come from the same draws. Both lines then close exactly. The
    KL to the posterior is the logarithm of a mean less the mean of a logarithm, so it cannot come
    out negative.

    All of it starts at q(z | x), and does not see a mode of p(z | x) that q has missed. For up to
    three latents log p(x) of the first 100 data is therefore estimated again, by draws of the
    prior, at no more than the cost of the draws of q. A warning says where the prior finds more.
    With more latents nothing but `bracket` and `calibrate` look from elsewhere, on simulated data.

    Arguments:
        pair: Any pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        num_steps, num_chains: Temperatures and chains of `annealed_log_evidence`. Without steps log
            p(x) is estimated by importance sampling.
        refit_steps: Steps of `inference_gaps` at most, which splits the KL to the posterior. 0
            leaves that out.
        simulations: Data simulated for `calibrate`. 0 leaves that out.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Picture`, per datum. Its `str` is the table.

    Raises:
        TypeError, ValueError: as `log_weights`.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> seen = picture(vae, torch.ones(5, 3), num_samples=100)
        >>> bool((seen.evidence.value - seen.elbo.value - seen.gap.value).abs().max() < 1e-9)
        True
    """
    check_pair(pair)
    num_steps = check_whole("num_steps", num_steps, least=0)
    refit_steps = check_whole("refit_steps", refit_steps, least=0)
    simulations = check_whole("simulations", simulations, least=0)

    terms, aggregate, left_out = _measure_terms(
        pair, *data, num_samples=num_samples, progress=progress
    )

    gap, annealed, gaps, calibration = terms.gap, None, None, None
    if num_steps:
        annealed = annealed_log_evidence(
            pair, *data, num_steps=num_steps, num_chains=num_chains, progress=progress
        )
        gap = subtract(annealed, terms.elbo)
    if refit_steps:
        reference = terms.evidence if annealed is None else annealed
        known = (*data, reference.value, reference.stderr)
        gaps = measure_shares(
            lambda rows: inference_gaps(
                pair,
                *rows[:-2],
                log_evidence=Estimate(*rows[-2:]),
                num_steps=refit_steps,
                progress=progress,
            ),
            known,
        )
    if simulations:
        calibration = calibrate(pair, *_repeat(data, simulations), progress=progress)

    return Picture(
        evidence=terms.evidence,
        elbo=terms.elbo,
        gap=gap,
        num_samples=num_samples,
        latents=aggregate,
        left_out=left_out,
        note=_describe_evidence(pair, data),
        annealed=annealed,
        gaps=gaps,
        calibration=calibration,
        second_look=look_again(pair, data, annealed or terms.evidence, num_samples, progress),
    )


def _has_few_sites(pair: nn.Module, data: tuple) -> bool:
    """Whether the sites are few enough for a row each, as seen at the first datum."""
    device = find_device(pair, as_rows("x", data[0]).device)
    # what is drawn here would change what is measured for a seed
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), quietly(pair):
        first = tuple(d[:1] for d in admit(pair, data))
        observed, latent = split_sites(sample_sites(trace(pair.model, first)))

    return max(len(observed), len(latent)) <= SHOWN


def _describe_evidence(pair: nn.Module, data: tuple) -> str | None:
    """What log p(x) is of, where a pair has something to say about it."""
    return pair.describe_evidence(*data) if isinstance(pair, ChecksData) else None


@dataclass(frozen=True)
class _Terms:
    """The terms of the first equation, per datum, from the same draws."""

    evidence: Evidence
    elbo: Elbo
    gap: Estimate


@sparing_threads("num_samples")
def _measure_terms(
    pair: nn.Module, *data: Tensor, num_samples: int, progress: bool
) -> tuple[_Terms, Latents | None, str | None]:
    """The terms of the equations, and the KL term taken apart, or why it is not."""
    per_site = _has_few_sites(pair, data)

    def measure(rows: tuple) -> _Terms:
        blocks = weigh_data(pair, rows, num_samples, progress=progress, per_site=per_site)
        return join_blocks([_estimate_terms(weights) for weights in blocks])

    return measure_shares(measure, data), *_measure_latents(pair, data, progress)


def _estimate_terms(weights: Weights) -> _Terms:
    log_weight = weights.log_weight

    return _Terms(
        evidence=estimate_evidence(log_weight),
        elbo=estimate_elbo(weights),
        gap=estimate_gap(log_weight, weights.elbo),
    )


def _measure_latents(
    pair: nn.Module, data: tuple, progress: bool
) -> tuple[Latents | None, str | None]:
    """The latents of the first data, at fewer draws where there are many; or why they are left out.

    There is not one q(z) where p(z) depends on a covariate, or a latent is masked.
    """
    few = tuple(d[:AGGREGATE] for d in data)
    num_samples = 10 if data[0].shape[0] <= AGGREGATE // 3 else 1

    try:
        return latents(pair, *few, num_samples=num_samples, progress=progress), None
    except NoAggregateError as reason:
        return None, str(reason)


def _repeat(data: tuple, count: int) -> list[Tensor]:
    """So many rows of the data, from the start again where there are fewer."""
    n = data[0].shape[0]

    return [d[torch.arange(count, device=d.device) % n] for d in data]
