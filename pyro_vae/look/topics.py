"""Figures of topics: their top words."""

from matplotlib.figure import Figure

from pyro_vae.diagnostics import TopWords
from pyro_vae.look.style import use_house_style


@use_house_style()
def top_words(top: TopWords, *, title: str = "") -> Figure:
    """Write the top words of topics, or of documents, a row for each.

    Arguments:
        top: What `diagnostics.top_words` returned.
        title: The title.
    """
    rows = [" ".join(words) for words in top.words]
    width = max(map(len, rows))
    figure = Figure(figsize=(max(4.0, 0.085 * width + 0.8), 0.22 * len(rows) + 0.6))
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))

    ax.set_axis_off()
    ax.set_ylim(len(rows) + 0.5, -2)
    ax.set_xlim(-0.06, 1)
    ax.text(0.0, -1, title, fontsize="medium", va="center")
    for place, row in enumerate(rows):
        ax.text(-0.01, place, str(place), fontsize="small", ha="right", va="center", color="0.5")
        ax.text(0.01, place, row, fontsize="small", va="center", parse_math=False)
    return figure
