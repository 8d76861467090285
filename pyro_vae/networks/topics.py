"""Topics: from the topics of a document to the probabilities of its words."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_vae.networks.network import Network, Shape
from pyro_vae.networks.standardised import Standardise
from pyro_vae.recipes import recorded


class Topics(nn.Module):
    r"""The logits of words, `[batch, V]`, from h, `[batch, K]`, with topics θ = softmax(h).

    .. math:: \mathrm{softmax}(S(\theta \beta)) \quad \text{or} \quad \theta \,
        \mathrm{softmax}(\beta)

    `topics` makes it.

    Arguments:
        topics: The number of topics, K.
        words: The number of words, V.
        mixture: Whether words are a mixture of topics. Otherwise they are a product.
        dropout: The share of topics that a training step leaves out.

    Attributes:
        beta: β, `[K, V]`.
    """

    def __init__(self, topics: int, words: int, *, mixture: bool = False, dropout: float = 0.0):
        super().__init__()

        self.mixture = mixture
        self.dropout = nn.Dropout(dropout)
        self.beta = nn.Parameter(torch.empty(topics, words))
        self.standardise = None if mixture else Standardise(words)
        nn.init.xavier_uniform_(self.beta)

    def forward(self, h: Tensor) -> Tensor:
        return self._mix(self.dropout(h.softmax(-1)))

    def _mix(self, theta: Tensor) -> Tensor:
        if self.standardise is not None:
            return self.standardise(theta @ self.beta)

        probs = theta @ self.beta.softmax(-1)
        return probs.clamp(min=torch.finfo(probs.dtype).tiny).log()

    @torch.no_grad()
    def find_words(self) -> Tensor:
        """log p(word) in a document about one topic alone, `[K, V]`."""
        alone = torch.eye(len(self.beta), dtype=self.beta.dtype, device=self.beta.device)

        return self._mix(alone).log_softmax(-1)


@recorded
def topics(
    given_shapes: Sequence[Shape],
    out_shape: Shape,
    *,
    mixture: bool = False,
    dropout: float = 0.0,
) -> Network:
    r"""The network of a topic model, for `pv.Multinomial(V, given=K, net=pv.networks.topics)`.

    .. math:: \theta = \mathrm{softmax}(h), \qquad p = \mathrm{softmax}(S(\theta \beta))

    This is a product of words (ProdLDA): S standardises each word over the documents, see
    `Standardise`. Without it topics collapse into each other. With `mixture=True` it is a mixture
    of words, p = θ softmax(β), which is latent Dirichlet allocation. (Blei, Ng & Jordan, 2003;
    Srivastava & Sutton, 2017)

    h is a latent of K numbers. `pv.approximate_dirichlet(K, alpha)` is its usual prior.

    Arguments:
        given_shapes: The shapes of the given variables, one vector of K numbers.
        out_shape: The shape of what comes out, a number for each word.
        mixture: Whether words are a mixture of topics.
        dropout: The share of topics that a training step leaves out.

    Raises:
        ValueError: if not one vector is given, or no vector comes out.

    Example:
        >>> topics([(50,)], (2000,))(torch.zeros(7, 5, 50)).shape
        torch.Size([7, 5, 2000])
    """
    shapes = [tuple(shape) for shape in given_shapes]
    if len(shapes) != 1 or len(shapes[0]) != 1 or len(out_shape) != 1:
        raise ValueError(
            "topics: expected one vector given, the topics of a document, and a number for each "
            f"word, got given_shapes {shapes} and out_shape {tuple(out_shape)}; take "
            "pv.Multinomial(V, given=K)"
        )
    body = Topics(shapes[0][0], out_shape[0], mixture=mixture, dropout=dropout)
    return Network(body, shapes, out_shape)
