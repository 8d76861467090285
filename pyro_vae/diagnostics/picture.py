"""The Bayesian picture, measured: log p(x) = ELBO + KL(q(z | x) ‖ p(z | x)), term by term."""

from typing import NamedTuple

from torch import Tensor, nn

from pyro_vae.diagnostics.elbo import Elbo, elbo_of, gathered
from pyro_vae.diagnostics.evidence import Evidence, evidence_of, khat_threshold
from pyro_vae.diagnostics.weights import measured, stderr


class Gap(NamedTuple):
    """KL(q(z | x) ‖ p(z | x)) per datum, `[n]`, in nats; in expectation a lower bound, and never negative.

    Attributes:
        value, stderr: log p(x) - ELBO on the same draws, and its Monte Carlo standard error.
    """

    value: Tensor
    stderr: Tensor


class Picture(NamedTuple):
    """The picture of a pair and data; printed, it is a table of means over the data.

    Attributes:
        evidence: log p(x), per datum.
        elbo: The ELBO and its two terms, per datum.
        gap: KL(q(z | x) ‖ p(z | x)), per datum.
        num_samples: Draws of q(z | x) for each datum.
    """

    evidence: Evidence
    elbo: Elbo
    gap: Gap
    num_samples: int

    def rows(self) -> dict[str, tuple[float, float, float]]:
        """The mean over data of each term, its Monte Carlo standard error, and its standard error over the data."""
        e = self.elbo
        columns = {
            "log p(x)": (self.evidence.value, self.evidence.stderr),
            "ELBO": (e.value, e.stderr),
            "KL(q(z|x) ‖ p(z|x))": (self.gap.value, self.gap.stderr),
            "E_q log p(x|z)": (e.reconstruction, e.reconstruction_stderr),
            "KL(q(z|x) ‖ p(z))": (e.kl, e.kl_stderr),
        }
        return {
            name: (value.mean().item(), error.square().sum().sqrt().item() / len(error), stderr(value).item())
            for name, (value, error) in columns.items()
        }

    def warnings(self) -> list[str]:
        """Why numbers of the picture are not to be trusted; empty if nothing speaks against them."""
        limit = khat_threshold(self.num_samples)
        bad = self.untrusted()
        few = (self.evidence.ess < 10).double().mean().item()
        said = []
        if bad > 0:
            said.append(
                f"k̂ is above {limit:.2f} for {100 * bad:.3g} % of the data: q(z|x) is too narrow there, log p(x) and "
                "the KL to p(z|x) are underestimated and their errors too small"
            )
        if few > 0:
            said.append(f"fewer than 10 effective samples for {100 * few:.3g} % of the data: take more draws")
        return said

    def untrusted(self) -> float:
        """The share of the data whose k̂ is above its threshold."""
        return (~(self.evidence.khat <= khat_threshold(self.num_samples))).double().mean().item()

    def as_dict(self) -> dict:
        """Numbers for a JSON file."""
        return {
            "unit": "nats per datum",
            "data": len(self.gap.value),
            "num_samples": self.num_samples,
            "terms": {
                name: {"mean": mean, "stderr": error, "stderr_over_data": spread}
                for name, (mean, error, spread) in self.rows().items()
            },
            "median_ess": self.evidence.ess.median().item(),
            "median_khat": self.evidence.khat.median().item(),
            "share_khat_above_threshold": self.untrusted(),
            "warnings": self.warnings(),
        }

    def __str__(self) -> str:
        rows = self.rows()

        def cell(name: str) -> str:
            mean, error, _ = rows[name]
            return f"{mean:10.4f} ± {error:.4f}"

        def equation(*names: str, sign: str) -> list[str]:
            left, a, b = names
            width = max(map(len, rows)) + 4
            return [
                f"{left:<{width}} {cell(left)}   (± {rows[left][2]:.3f} over data)",
                f"  = {a:<{width - 4}} {cell(a)}",
                f"  {sign} {b:<{width - 4}} {cell(b)}",
            ]

        e = self.evidence
        lines = [
            f"The Bayesian picture: means over {len(e.value)} data, {self.num_samples} draws of q(z|x) each, in nats",
            "",
            *equation("log p(x)", "ELBO", "KL(q(z|x) ‖ p(z|x))", sign="+"),
            "",
            *equation("ELBO", "E_q log p(x|z)", "KL(q(z|x) ‖ p(z))", sign="-"),
            "",
            "± is the Monte Carlo standard error. log p(x) by importance sampling, a lower bound in expectation:",
            f"median effective sample size {e.ess.median().item():.0f}, median k̂ {e.khat.median().item():.2f}.",
        ]
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings()])

    __repr__ = __str__


def picture(pair: nn.Module, *data: Tensor, num_samples: int = 5000, progress: bool = True) -> Picture:
    r"""Measure how far q(z | x) is from the true posterior p(z | x), and what the ELBO is made of.

    .. math::
        \log p(x) &= \mathrm{ELBO} + KL(q(z|x) \,\|\, p(z|x)) \\
        \mathrm{ELBO} &= E_q \log p(x|z) - KL(q(z|x) \,\|\, p(z))

    All terms come from the same draws, so both lines close exactly, and the KL to the posterior, which is the
    logarithm of a mean less the mean of a logarithm, cannot come out negative.

    Arguments:
        pair: Any pair.
        data: x, `[n, *event]`, and what else the model takes.
        num_samples: Draws of q(z | x) for each datum.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Picture`, per datum; its `str` is the table.

    Raises:
        TypeError, ValueError: as `log_weights`.

    Example:
        >>> import torch, pyro_vae as pv
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
        influence = log_w.softmax(0) * log_w.shape[0] - log_w
        gaps.append(Gap(evidences[-1].value - elbos[-1].value, stderr(influence)))
    return Picture(gathered(evidences), gathered(elbos), gathered(gaps), num_samples)
