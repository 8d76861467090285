"""Figures as they would be written."""

import io

from matplotlib.figure import Figure


def drawn(figure: Figure) -> bytes:
    """The figure as a file. Only then does matplotlib find out what is wrong with it."""
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
