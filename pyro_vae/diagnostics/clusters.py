"""What clusters a pair finds, and how far they are the true classes."""

from dataclasses import dataclass

from torch import Tensor

from pyro_vae.arguments import as_tensor
from pyro_vae.diagnostics.labels import Agreement, Labels, classify, compare_labels
from pyro_vae.pairs.labelled import LabelledVAE
from pyro_vae.weights.intake import as_rows


@dataclass(frozen=True)
class Clusters:
    """The cluster of each datum, and the agreement with true labels.

    Attributes:
        labels: q(y | x) and p(y | x), see `classify`.
        by_variational: The agreement of the most probable y under q(y | x).
        by_posterior: The agreement of the most probable y under p(y | x).
    """

    labels: Labels
    by_variational: Agreement
    by_posterior: Agreement

    @property
    def sizes(self) -> Tensor:
        """How many data lie in each cluster by p(y | x), `[K]`. An unused one has none."""
        return self.labels.guesses.bincount(minlength=self.labels.variational.shape[-1])

    def __str__(self) -> str:
        q, p = self.by_variational, self.by_posterior
        used = int((self.sizes > 0).sum())
        rows = {
            "accuracy": (q.accuracy, p.accuracy),
            "NMI": (q.nmi, p.nmi),
            "ARI": (q.ari, p.ari),
        }

        lines = [f"{'':<10}{'by q(y|x)':>18}{'by p(y|x)':>18}"]
        for name, row in rows.items():
            cells = [f"{e.value:.4f} ± {e.stderr:.4f}" for e in row]
            lines.append(f"{name:<10}{cells[0]:>18}{cells[1]:>18}")
        lines.append(f"{used} of {len(self.sizes)} clusters have data")
        return "\n".join(lines)

    __repr__ = __str__


def cluster(
    pair: LabelledVAE,
    x: Tensor,
    labels: Tensor,
    *,
    num_samples: int = 100,
    progress: bool = True,
) -> Clusters:
    """The cluster of each datum by q(y | x) and by p(y | x), beside true labels.

    For the accuracy clusters and labels are matched one to one in the best way (Kuhn, 1955), as the
    numbers of clusters mean nothing. NMI and ARI need no matching. Without true labels take
    `classify`, whose guesses are the clusters.

    Arguments:
        pair: A `LabelledVAE`, trained without labels.
        x: The data, `[n, *event]`.
        labels: The true labels, whole numbers `[n]`. The pair does not see them.
        num_samples: Draws of q(z | x, y) for each datum and cluster, for p(y | x).
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Clusters`. The errors of its agreements are over the data.

    Raises:
        TypeError: if the pair is no `LabelledVAE`.
        ValueError: if there is not one label for each datum.

    Example:
        >>> pair = pv.LabelledVAE(
        ...     labels=pv.OneHotCategorical(10, logits=0.0),
        ...     prior=pv.Normal(2, given=10),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     classifier=pv.OneHotCategorical(10, given=3),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> found = cluster(pair, torch.ones(5, 3), torch.arange(5), num_samples=10)
        >>> int(found.sizes.sum())
        5
    """
    x, labels = as_rows("x", x), as_tensor("labels", labels)
    if labels.shape != (len(x),):
        raise ValueError(
            f"labels: expected one for each of the {len(x)} data, got shape {tuple(labels.shape)}"
        )

    found = classify(pair, x, num_samples=num_samples, progress=progress)
    labels = labels.to(found.variational.device)
    guesses = found.variational.argmax(-1)

    return Clusters(
        labels=found,
        by_variational=compare_labels(guesses, labels, match=True),
        by_posterior=compare_labels(found.guesses, labels, match=True),
    )
