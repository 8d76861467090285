"""A term that trains the classifier of a pair on the labels that are known."""

import torch
from torch import Tensor

from pyro_vae.arguments import check_within
from pyro_vae.objectives.objective import Loss, Objective
from pyro_vae.pairs.labelled import LabelledVAE
from pyro_vae.pairs.parameters import OwnParameters


class Classification(Loss):
    r"""An objective of a `LabelledVAE` that also raises log q(y | x) of the labels that are known.

    .. math:: -\mathrm{ELBO} - \lambda \, \frac{1}{n} \sum_{i \text{ known}} \log q(y_i | x_i)

    Without it q(y | x) learns from the data without labels alone. It is no bound on log p(x).
    (Kingma, Rezende, Mohamed & Welling, 2014, where λ is α)

    Use:
        objective: a `LabelledVAE` with few known labels.

    Arguments:
        objective: An `Objective` of the pair.
        weight: λ, at least 0.

    Raises:
        TypeError: if the objective is not of a `LabelledVAE`.
        ValueError: if the weight is negative or not finite. When trained by `fit` on data in
            memory, if no label is known in any of them. A batch without a known label is admitted.

    Example:
        >>> pair = pv.LabelledVAE(
        ...     labels=pv.OneHotCategorical(10, logits=0.0),
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=[2, 10]),
        ...     classifier=pv.OneHotCategorical(10, given=3),
        ...     variational=pv.Normal(2, given=[3, 10]),
        ... )
        >>> objective = Classification(pv.Objective(pair), weight=50.0)
        >>> objective(x, torch.tensor([0, 1, -1, -1, 2])).shape
        torch.Size([])
    """

    def __init__(self, objective: Objective, weight: float):
        super().__init__()

        if not isinstance(objective, Objective) or not isinstance(objective.pair, LabelledVAE):
            raise TypeError(
                f"objective: expected a pv.Objective of a LabelledVAE, got {objective!r}"
            )
        self.objective = objective
        self.weight = check_within("weight", weight, 0.0)

    def check_training(self, *data: Tensor) -> None:
        is_known = torch.cat([y >= 0 for y in data[1:]]) if len(data) > 1 else torch.zeros(0)
        if self.weight and not is_known.any():
            raise ValueError(
                "objective: Classification trains q(y | x) on known labels, and no label is known "
                f"in the {len(data[0])} rows of training data. Give y after x, fit(pair, x, y), "
                "with -1 where a label is not known; or take pv.Objective(pair), which learns "
                "clusters"
            )

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if y is None:
            return self.objective(x)

        pair = self.objective.pair
        with OwnParameters():
            is_known, label = pair.read(x, y)
            log_q = pair.classifier(x).log_prob(label)
        known = torch.where(is_known, log_q, 0.0).sum() / x.shape[0]

        return self.objective(x, y) - self.weight * known
