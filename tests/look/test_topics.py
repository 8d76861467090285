import torch

from pyro_vae.diagnostics import top_words
from pyro_vae.look import plots
from tests.figures import drawn


def test_each_topic_has_a_row_of_words():
    table = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    figure = plots.top_words(top_words(table, ["ball", "vote", "game"], n=2), title="topics")
    drawn(figure)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["topics", "0", "ball game", "1", "vote game"]
