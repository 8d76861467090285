"""The table of a picture: its rows, term by term, and how they are written."""

import math
from typing import NamedTuple

from pyro_vae.diagnostics.elbo import Elbo, Sites
from pyro_vae.diagnostics.estimate import Estimate, average_data, standard_error
from pyro_vae.diagnostics.gaps import InferenceGaps
from pyro_vae.diagnostics.latents import Latents


class Row(NamedTuple):
    """A row of the table, in nats.

    Attributes:
        label: The term. It starts with spaces where it is a part of the term above.
        mean: The mean over the data.
        stderr: The Monte Carlo standard error of that mean.
        spread: Its standard error over the data, or NaN where the term has no value per datum.
        meaning: What the term says, in words.
    """

    label: str
    mean: float
    stderr: float
    spread: float
    meaning: str


def list_evidence(log_evidence: Estimate, elbo: Elbo, gap: Estimate) -> list[Row]:
    """The first equation: log p(x) is the ELBO and what it misses."""
    return [
        _summarise(
            "log p(x)", log_evidence, "how well the model predicts the data; higher is better"
        ),
        _summarise("  = ELBO", elbo, "the lower bound on it that is trained"),
        _summarise(
            "  + KL(q(z|x) ‖ p(z|x))",
            gap,
            "what the bound misses: how far q is from the posterior",
        ),
    ]


def list_gaps(gaps: InferenceGaps) -> list[Row]:
    """The two parts of what the ELBO misses."""
    return [
        _summarise(
            "      = approximation", gaps.approximation, "what no q of its family can avoid"
        ),
        _summarise(
            "      + amortisation",
            gaps.amortisation,
            "what the encoder adds to that; a q fitted to each x alone avoids it",
        ),
    ]


def list_elbo(elbo: Elbo) -> list[Row]:
    """The second equation: the ELBO and its two terms."""
    return [
        _summarise("ELBO", elbo, ""),
        _summarise("  = E_q log p(x|z)", elbo.reconstruction, "how well x is predicted from its z"),
        *_list_sites("log p of", elbo.observed, "how well {} is predicted"),
        _summarise("  - KL(q(z|x) ‖ p(z))", elbo.kl, "what z costs: how far q is from the prior"),
        *_list_sites("log q/p of", elbo.latent, "what {} costs, given what it depends on"),
    ]


def _list_sites(symbol: str, sites: Sites | None, meaning: str) -> list[Row]:
    """The terms of the sites, where there are several."""
    if sites is None or len(sites) < 2:
        return []

    signs = ["=", *"+" * (len(sites) - 1)]
    return [
        _summarise(f"      {sign} {symbol} {name}", each, meaning.format(name))
        for sign, (name, each) in zip(signs, sites.items(), strict=True)
    ]


def list_latents(latents: Latents, n: int) -> list[Row]:
    """The two parts of the KL to the prior, which may be of fewer than the n data."""
    first = f", first {latents.count} data" if latents.count < n else ""
    ceiling = f"what z says about x, at most {latents.write_ceiling()}{first}"

    return [
        _copy("      = I_q(x; z)", latents.information, ceiling),
        _copy(
            "      + KL(q(z) ‖ p(z))",
            latents.marginal,
            "how far the z of all data, taken together, are from the prior",
        ),
    ]


def write_rows(rows: list[Row]) -> list[str]:
    """Lines of text, with an empty line before each equation."""
    width = max(len(row.label) for row in rows) + 1
    lines = []
    for row in rows:
        if not row.label.startswith(" "):
            lines.append("")
        line = f"{row.label:<{width}} {row.mean:10.4f} ± {row.stderr:.4f}   {row.meaning}"
        lines.append(line.rstrip())
    return lines


def _summarise(label: str, each: Estimate, meaning: str) -> Row:
    """The row of a term that has a value per datum."""
    mean = average_data(each)

    return Row(
        label=label,
        mean=mean.value,
        stderr=mean.stderr,
        spread=standard_error(each.value).item(),
        meaning=meaning,
    )


def _copy(label: str, mean: Estimate, meaning: str) -> Row:
    """The row of a term that is a mean already."""
    return Row(
        label=label,
        mean=mean.value,
        stderr=mean.stderr,
        spread=math.nan,
        meaning=meaning,
    )
