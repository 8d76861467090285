"""The Bayesian picture, measured: log p(x) = ELBO + KL(q(z | x) ‖ p(z | x)), term by term."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_vae.diagnostics.annealing import Annealed, annealed_log_evidence
from pyro_vae.diagnostics.calibration import Calibration, calibrate
from pyro_vae.diagnostics.elbo import Elbo, elbo_of, gathered
from pyro_vae.diagnostics.evidence import Evidence, evidence_of, khat_threshold
from pyro_vae.diagnostics.gaps import Gap, InferenceGaps, gap_of, inference_gaps
from pyro_vae.diagnostics.latents import Latents, latents
from pyro_vae.diagnostics.log_weights import measured, stderr

AGGREGATE = 3000  # data of which the aggregate q(z) is made; its cost is their square


class Row(NamedTuple):
    """A row of the table: its label, mean over data, Monte Carlo error, error over the data, and what it means."""

    label: str
    mean: float
    stderr: float
    spread: float
    meaning: str


class Picture(NamedTuple):
    """The picture of a pair and data; printed, it is a table of means over the data.

    Attributes:
        evidence: log p(x) by importance sampling, per datum.
        elbo: The ELBO and its two terms, per datum.
        gap: KL(q(z | x) ‖ p(z | x)), per datum: the log p(x) that the table shows, less the ELBO.
        num_samples: Draws of q(z | x) for each datum.
        latents: The KL term over all data (the first 3,000 at most), taken apart.
        annealed: log p(x) by annealing, in place of importance sampling in the table; or None.
        gaps: What of the gap is the family's and what the encoder's; or None.
        calibration: Of q(z | x) on simulated data; or None.
    """

    evidence: Evidence
    elbo: Elbo
    gap: Gap
    num_samples: int
    latents: Latents | None = None
    annealed: Annealed | None = None
    gaps: InferenceGaps | None = None
    calibration: Calibration | None = None

    def table(self) -> list[Row]:
        """The rows, in the order of the two equations."""
        e, log_p = self.elbo, self.evidence if self.annealed is None else self.annealed
        rows = [
            _row(
                "log p(x)",
                log_p.value,
                log_p.stderr,
                "how well the model predicts the data; higher is better",
            ),
            _row("  = ELBO", e.value, e.stderr, "the lower bound on it that is trained"),
            _row(
                "  + KL(q(z|x) ‖ p(z|x))",
                self.gap.value,
                self.gap.stderr,
                "what the bound misses: how far q is from the posterior",
            ),
        ]
        if self.gaps is not None:
            g = self.gaps
            rows += [
                _row(
                    "      = approximation",
                    g.approximation,
                    g.approximation_stderr,
                    "what no q of its family can avoid",
                ),
                _row(
                    "      + amortisation",
                    g.amortisation,
                    g.amortisation_stderr,
                    "what the encoder adds to that; a q fitted to each x alone avoids it",
                ),
            ]
        rows += [
            _row("ELBO", e.value, e.stderr, ""),
            _row(
                "  = E_q log p(x|z)",
                e.reconstruction,
                e.reconstruction_stderr,
                "how well x is predicted from its z",
            ),
            _row(
                "  - KL(q(z|x) ‖ p(z))",
                e.kl,
                e.kl_stderr,
                "what z costs: how far q is from the prior",
            ),
        ]
        if self.latents is not None:
            seen = self.latents
            count = round(math.exp(seen.ceiling))
            first = f", first {count} data" if count < len(e.value) else ""
            ceiling = f"what z says about x, at most log N = {seen.ceiling:.2f}{first}"
            rows += [
                Row("      = I_q(x; z)", *seen.information, math.nan, ceiling),
                Row(
                    "      + KL(q(z) ‖ p(z))",
                    *seen.marginal,
                    math.nan,
                    "how far the z of all data, taken together, are from the prior",
                ),
            ]
        return rows

    def rows(self) -> dict[str, tuple[float, float, float]]:
        """By term: the mean over data, its Monte Carlo standard error, and its standard error over the data."""
        return {
            row.label.lstrip(" =+-"): (row.mean, row.stderr, row.spread) for row in self.table()
        }

    def untrusted(self) -> float:
        """The share of the data whose k̂ is above its threshold."""
        return (~(self.evidence.khat <= khat_threshold(self.num_samples))).double().mean().item()

    def warnings(self) -> list[str]:
        """Why numbers of the picture are not to be trusted; empty if nothing speaks against them."""
        said = []
        if self.annealed is not None:
            said += self.annealed.warnings()
        else:
            few = (self.evidence.ess < 10).double().mean().item()
            if self.untrusted() > 0:
                said.append(
                    f"k̂ is above {khat_threshold(self.num_samples):.2f} for {100 * self.untrusted():.3g} % of data: "
                    "q(z|x) is too narrow there, log p(x) and the KL to p(z|x) come out too low, their errors too small"
                )
            if few > 0:
                said.append(
                    f"fewer than 10 effective samples for {100 * few:.3g} % of the data: take more draws"
                )
        if self.latents is not None:
            said += self.latents.warnings()
        if self.calibration is not None:
            faults = zip(self.calibration.names, self.calibration.faults(), strict=True)
            said += [f"calibration of {name}: {fault}" for name, fault in faults if fault]
        return said

    def as_dict(self) -> dict:
        """Numbers for a JSON file."""
        notes = {
            "unit": "nats per datum",
            "data": len(self.gap.value),
            "num_samples": self.num_samples,
            "log p(x) by": "importance sampling"
            if self.annealed is None
            else "annealed importance sampling",
            "terms": {
                name: {
                    key: v if math.isfinite(v) else None
                    for key, v in zip(("mean", "stderr", "stderr_over_data"), row)
                }
                for name, row in self.rows().items()
            },
            "median_ess": self.evidence.ess.median().item(),
            "median_khat": self.evidence.khat.median().item(),
            "share_khat_above_threshold": self.untrusted(),
            "warnings": self.warnings(),
        }
        if self.latents is not None:
            notes["active"] = self.latents.active.tolist()
        if self.calibration is not None:
            notes["calibration"] = self.calibration.as_dict()
        return notes

    def __str__(self) -> str:
        table, e = self.table(), self.evidence
        width = max(len(row.label) for row in table) + 1
        lines = [f"The Bayesian picture: means over {len(e.value)} data, in nats"]
        for row in table:
            lines += [""] if not row.label.startswith(" ") else []
            lines.append(
                f"{row.label:<{width}} {row.mean:10.4f} ± {row.stderr:.4f}   {row.meaning}".rstrip()
            )
        rows = self.rows()
        spread = ", ".join(f"{name} {rows[name][2]:.3f}" for name in ("log p(x)", "ELBO"))
        lines += [
            "",
            f"± is the Monte Carlo standard error; over the data it is {spread}.",
            f"{self.num_samples} draws of q(z|x) for each datum: median effective sample size "
            f"{e.ess.median().item():.0f}, median k̂ {e.khat.median().item():.2f}.",
        ]
        if self.annealed is not None:
            a = self.annealed
            lines.append(
                f"log p(x) by annealing, {len(a.betas) - 1} temperatures × {len(a.log_weights)} chains: acceptance "
                f"{a.acceptance.mean().item():.2f}, median effective chains {a.ess.median().item():.1f}."
            )
        else:
            lines.append("log p(x) by importance sampling, in expectation a lower bound.")
        if self.latents is not None:
            lines.append(
                f"{int(self.latents.active.sum())} of {len(self.latents.active)} dimensions of z are active."
            )
        if self.calibration is not None:
            c = self.calibration
            verdict = "no fault found" if c.passed else "q(z|x) is not the posterior there"
            lines.append(f"Calibration on {len(c.ranks)} simulated data: {verdict}.")
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings()])

    __repr__ = __str__


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

    Without annealing these five terms come from the same draws: both lines close exactly, and the
    KL to the posterior, which is the logarithm of a mean less the mean of a logarithm, cannot come
    out negative.

    Arguments:
        pair: Any pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        num_steps, num_chains: Temperatures and chains of `annealed_log_evidence`; without steps log
            p(x) is estimated by importance sampling.
        refit_steps: Steps of `inference_gaps`, which splits the KL to the posterior; 0 leaves that
            out.
        simulations: Data simulated for `calibrate`; 0 leaves that out.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Picture`, per datum; its `str` is the table.

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
    elbos, evidences, gaps = [], [], []
    for t in measured(pair, data, num_samples, progress):
        log_w = t.log_likelihood + t.log_prior - t.log_variational
        elbos.append(elbo_of(t))
        evidences.append(evidence_of(log_w))
        gaps.append(gap_of(log_w))
    elbo, evidence, gap = gathered(elbos), gathered(evidences), gathered(gaps)

    n = data[0].shape[0]
    part = tuple(d[:AGGREGATE] for d in data)
    aggregate = latents(
        pair, *part, num_samples=10 if n <= AGGREGATE // 3 else 1, progress=progress
    )
    annealed, parts, calibration = None, None, None
    if num_steps:
        annealed = annealed_log_evidence(
            pair, *data, num_steps=num_steps, num_chains=num_chains, progress=progress
        )
        gap = Gap(annealed.value - elbo.value, (annealed.stderr**2 + elbo.stderr**2).sqrt())
    if refit_steps:
        reference = evidence if annealed is None else annealed
        parts = inference_gaps(
            pair, *data, log_evidence=reference, num_steps=refit_steps, progress=progress
        )
    if simulations:
        template = (d[torch.arange(simulations, device=d.device) % n] for d in data)
        calibration = calibrate(pair, *template)
    return Picture(evidence, elbo, gap, num_samples, aggregate, annealed, parts, calibration)


def _row(label: str, value: Tensor, error: Tensor, meaning: str) -> Row:
    mean, over_data = value.mean().item(), stderr(value).item()
    return Row(label, mean, error.square().sum().sqrt().item() / len(error), over_data, meaning)
