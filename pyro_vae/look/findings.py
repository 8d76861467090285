"""Numbers beside the picture, with a heading: what one kind of pair is measured by."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pyro_vae.diagnostics.estimate import Estimate


class Finding(NamedTuple):
    """A number with its error, and what it says.

    Attributes:
        label: Its name.
        number: The number, a scalar.
        meaning: What it says, in words.
    """

    label: str
    number: Estimate
    meaning: str


Findings = Mapping[str, Sequence[Finding]]  # by heading


def write_findings(findings: Findings) -> str:
    """Lines of text, with an empty line before each heading.

    Example:
        >>> number = Estimate(value=0.88, stderr=0.018)
        >>> print(write_findings({"Labels": [Finding("accuracy", number, "higher is better")]}))
        <BLANKLINE>
        Labels
        accuracy       0.8800 ± 0.0180   higher is better
    """
    rows = [finding for group in findings.values() for finding in group]
    width = max((len(row.label) for row in rows), default=0) + 1
    lines = []
    for heading, group in findings.items():
        lines += ["", heading]
        lines += [_write_finding(finding, width) for finding in group]
    return "\n".join(lines)


def list_numbers(findings: Findings) -> dict[str, dict[str, dict[str, float]]]:
    """The numbers by heading and label, for a JSON file."""
    return {
        heading: {
            label: {"value": float(number.value), "stderr": float(number.stderr)}
            for label, number, _ in group
        }
        for heading, group in findings.items()
    }


def _write_finding(finding: Finding, width: int) -> str:
    label, number, meaning = finding
    value, stderr = float(number.value), float(number.stderr)
    return f"{label:<{width}} {value:10.4f} ± {stderr:.4f}   {meaning}".rstrip()
