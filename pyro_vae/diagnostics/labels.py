"""What a pair with labels says of the label: q(y | x), and p(y | x) by the weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.arguments import as_tensor, check_whole
from pyro_vae.diagnostics.estimate import Estimate
from pyro_vae.pairs.labelled import LabelledVAE
from pyro_vae.progress import progress_bar
from pyro_vae.weights.blocks import count_fitting, count_numbers, cut
from pyro_vae.weights.intake import admit
from pyro_vae.weights.listed import find_listed
from pyro_vae.weights.traces import (
    latent_sites,
    latent_values,
    quietly,
    sample_sites,
    trace,
)
from pyro_vae.weights.weights import sum_sites

REPEATS = 200  # bootstrap samples of the data, for the errors of agreement


@dataclass(frozen=True)
class Labels:
    """The label of each datum, by the classifier and by Bayes' rule.

    Attributes:
        variational: q(y | x), `[n, K]`.
        posterior: p(y | x) by the weights, `[n, K]`. Its errors are those of the draws of z.
    """

    variational: Tensor
    posterior: Estimate

    @property
    def guesses(self) -> Tensor:
        """The most probable label of each datum under p(y | x), `[n]`."""
        return self.posterior.value.argmax(-1)


@dataclass(frozen=True)
class Agreement:
    """How far guessed labels agree with true ones. The errors are over the data.

    Attributes:
        accuracy: The share of equal labels.
        nmi: The normalised mutual information, between 0 and 1.
        ari: The adjusted Rand index. It is 0 in expectation for guesses at random, and 1 for equal
            partitions.
    """

    accuracy: Estimate
    nmi: Estimate
    ari: Estimate

    def __str__(self) -> str:
        rows = {"accuracy": self.accuracy, "NMI": self.nmi, "ARI": self.ari}
        return "\n".join(f"{name:<10} {e.value:.4f} ± {e.stderr:.4f}" for name, e in rows.items())

    __repr__ = __str__


def classify(
    pair: LabelledVAE, x: Tensor, *, num_samples: int = 100, progress: bool = True
) -> Labels:
    r"""The label of each datum: by q(y | x), and by Bayes' rule.

    .. math:: p(y \mid x) = \frac{p(x, y)}{\sum_{y'} p(x, y')}, \qquad
        p(x, y) \approx \frac{1}{k} \sum_i \frac{p(x, y, z_i)}{q(z_i \mid x, y)}

    Arguments:
        pair: A `LabelledVAE`.
        x: The data, `[n, *event]`.
        num_samples: Draws of q(z | x, y) for each datum and label, k.
        progress: Show a progress bar, in a terminal or notebook.

    Returns:
        A `Labels`, float64.

    Raises:
        TypeError: if the pair is no `LabelledVAE`.

    Example:
        >>> pair = pv.LabelledVAE(
        ...     labels=pv.OneHotCategorical(10, logits=0.0),
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=[2, 10]),
        ...     classifier=pv.OneHotCategorical(10, given=3),
        ...     variational=pv.Normal(2, given=[3, 10]),
        ... )
        >>> classify(pair, torch.ones(5, 3), num_samples=10).guesses.shape
        torch.Size([5])
    """
    if not isinstance(pair, LabelledVAE):
        raise TypeError(f"pair: expected a LabelledVAE, got {type(pair).__name__}")
    num_samples = check_whole("num_samples", num_samples)

    data = admit(pair, (x,))
    rows = count_fitting(num_samples * pair.classes * count_numbers(data[0]))
    parts = []
    with progress_bar(len(x), "classifying", show=progress, unit="datum") as bar, quietly(pair):
        for _, (part,) in cut(data, rows):
            parts.append(_classify(pair, part, num_samples))
            bar.update(len(part))
    variational, value, stderr = (torch.cat(column) for column in zip(*parts, strict=True))

    return Labels(variational=variational, posterior=Estimate(value=value, stderr=stderr))


def _classify(pair: LabelledVAE, x: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """q(y | x), p(y | x) and its errors, `[n, K]` each, for a block."""
    guide_trace = trace(pair.guide, (x,), draws=k, lists=True)
    model_trace = trace(pair.model, (x,), draws=k, latents=latent_values(guide_trace))
    sizes = find_listed(latent_sites(guide_trace))
    drawn = {name: s for name, s in latent_sites(guide_trace).items() if name not in sizes}

    shape = (pair.classes, k, x.shape[0])
    log_p = sum_sites(sample_sites(model_trace), shape, x)
    log_w = (log_p - sum_sites(drawn, shape, x)).double()
    log_p_xy = log_w.logsumexp(1) - math.log(k)
    p = log_p_xy.softmax(0)

    # the influence of each draw on the ratio of p(x, y) and p(x)
    relative = (log_w - log_p_xy.logsumexp(0)).exp()
    influence = relative - p.unsqueeze(1) * relative.sum(0)
    stderr = influence.std(1) / k**0.5 if k > 1 else torch.full_like(p, torch.inf)
    return pair.classifier(x).probs.double(), p.T, stderr.T


def compare_labels(guesses: Tensor, labels: Tensor, *, match: bool = False) -> Agreement:
    """How far guessed labels, or clusters, agree with the true labels.

    Arguments:
        guesses: Whole numbers, `[n]`.
        labels: The true labels, `[n]`.
        match: Whether to match guesses and labels one to one for the accuracy, in the best way, as
            the numbers of clusters mean nothing.

    Returns:
        An `Agreement`. Its errors are bootstrapped over the data, with the matching kept.

    Raises:
        ValueError: if the two have different lengths, or are empty, or hold a negative number.
        TypeError: if they are no whole numbers.

    Example:
        >>> found = compare_labels(torch.tensor([1, 1, 0]), torch.tensor([0, 0, 1]), match=True)
        >>> found.accuracy.value, found.ari.value
        (1.0, 1.0)
    """
    # scikit-learn takes a second to import, and then changes Python's random state
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    guesses, labels = as_tensor("guesses", guesses), as_tensor("labels", labels)
    if guesses.shape != labels.shape or guesses.dim() != 1 or not len(labels):
        raise ValueError(
            f"guesses: expected one for each of the {len(labels)} labels, got shape "
            f"{tuple(guesses.shape)}"
        )
    _check_labels("guesses", guesses)
    _check_labels("labels", labels)
    if match:
        guesses = _match(guesses, labels)

    generator = torch.Generator().manual_seed(0)
    n = len(labels)
    samples = [torch.randint(n, (n,), generator=generator) for _ in range(REPEATS)]
    scores = {
        "accuracy": lambda a, b: (a == b).double().mean().item(),
        "nmi": lambda a, b: float(normalized_mutual_info_score(b, a)),
        "ari": lambda a, b: float(adjusted_rand_score(b, a)),
    }
    return Agreement(
        **{name: _bootstrap(score, guesses, labels, samples) for name, score in scores.items()}
    )


def _check_labels(name: str, values: Tensor) -> None:
    if values.is_floating_point() or values.dtype == torch.bool:
        raise TypeError(f"{name}: expected whole numbers [n], got {values.dtype}")
    if (values < 0).any():
        raise ValueError(
            f"{name}: expected numbers from 0, got {int(values.min())}. Leave out the rows whose "
            "label is not known, guesses[y >= 0] and y[y >= 0]"
        )


def _match(guesses: Tensor, labels: Tensor) -> Tensor:
    """The guesses, renamed to the labels with which they share most data."""
    from scipy.optimize import linear_sum_assignment

    size = int(torch.cat([guesses, labels]).max()) + 1
    table = torch.zeros(size, size, dtype=torch.long)
    table.index_put_((guesses, labels), torch.ones_like(labels), accumulate=True)
    clusters, names = linear_sum_assignment(-table.numpy())

    renamed = torch.zeros(size, dtype=torch.long)
    renamed[torch.as_tensor(clusters)] = torch.as_tensor(names)
    return renamed[guesses]


def _bootstrap(score, guesses: Tensor, labels: Tensor, samples: list[Tensor]) -> Estimate:
    repeated = torch.tensor([score(guesses[i], labels[i]) for i in samples])
    return Estimate(value=score(guesses, labels), stderr=repeated.std().item())
