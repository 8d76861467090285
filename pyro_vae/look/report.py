"""A measured picture and its figures as one HTML page, to open and to send on."""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pyro_vae.diagnostics import Picture
from pyro_vae.diagnostics.picture import Row
from pyro_vae.look.findings import Finding, Findings

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; }}
body {{ max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }}
td:first-child, th:first-child, td:last-child, th:last-child {{ text-align: left; }}
td:first-child {{ white-space: pre; }}
figure {{ margin: 2rem 0; }}
img {{ max-width: 100%; }}
pre {{ background: #f6f6f6; padding: .8rem; overflow-x: auto; }}
</style>
<h1>{title}</h1>
<p><strong>{verdict}</strong></p>
<p>{note}</p>
<pre>{about}</pre>
<h2>The Bayesian picture</h2>
<p>Means over {count} data, in nats; ± is the Monte Carlo standard error, then the standard error
over the data.</p>
<table>
<tr><th>term</th><th>mean</th><th>±</th><th>over data</th><th>what it means</th></tr>
{rows}
</table>
{findings}
<h2>Figures</h2>
{figures}
{warnings}
</html>
"""


def report(
    picture: Picture,
    figures: Mapping[str, Figure],
    *,
    verdict: str = "",
    findings: Findings | None = None,
    title: str = "pyro_vae",
    note: str = "",
    about: str = "",
) -> str:
    """Write the page. It loads nothing from elsewhere.

    Arguments:
        picture: What `diagnostics.picture` returned.
        figures: Matplotlib figures by caption.
        verdict: Whether it worked, what `look.verdict.judge` returned.
        findings: Numbers beside the picture, by heading.
        title: The title.
        note: A sentence below the title, about the data and how they were measured.
        about: Lines that are shown as they are, such as the `repr` of the pair.

    Returns:
        HTML.

    Example:
        >>> import torch, pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> picture = pv.diagnostics.picture(vae, torch.ones(5, 3), num_samples=50)
        >>> "KL(q(z|x) ‖ p(z|x))" in report(picture, {}, about=repr(vae))
        True
    """
    rows = [_write_row(row) for row in picture.table()]
    tables = [_write_table(heading, group) for heading, group in (findings or {}).items()]
    drawn = [_write_figure(caption, figure) for caption, figure in figures.items()]

    return PAGE.format(
        title=html.escape(title),
        verdict=html.escape(verdict),
        note=html.escape(note),
        about=html.escape(about),
        count=len(picture.gap.value),
        rows="\n".join(rows),
        warnings=_write_warnings(picture.warnings()),
        findings="\n".join(tables),
        figures="\n".join(drawn),
    )


def _write_row(row: Row) -> str:
    numbers = [_write_number(number) for number in (row.mean, row.stderr, row.spread)]
    cells = [html.escape(row.label), *numbers, html.escape(row.meaning)]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _write_warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""

    items = [f"<li>{html.escape(text)}</li>" for text in warnings]
    return "\n".join(["<h2>What to trust less</h2>", "<ul>", *items, "</ul>"])


def _write_table(heading: str, group: Sequence[Finding]) -> str:
    rows = [_write_finding(finding) for finding in group]
    head = "<tr><th></th><th>value</th><th>±</th><th>what it means</th></tr>"
    return "\n".join([f"<h2>{html.escape(heading)}</h2>", "<table>", head, *rows, "</table>"])


def _write_finding(finding: Finding) -> str:
    label, number, meaning = finding
    numbers = [_write_number(float(part)) for part in (number.value, number.stderr)]
    cells = [html.escape(label), *numbers, html.escape(meaning)]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _write_number(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.4f}"


def _write_figure(caption: str, figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    data = base64.b64encode(file.getvalue()).decode()
    caption = html.escape(caption)
    image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
