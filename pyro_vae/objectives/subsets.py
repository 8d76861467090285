"""An objective that trains a pair on subsets of its modalities."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pyro_vae.arguments import check_whole
from pyro_vae.objectives.objective import Loss, Objective
from pyro_vae.pairs.multimodal import MultimodalVAE, is_there


class Subsets(Loss):
    r"""The sum of an objective over all modalities, over each alone, and over random subsets.

    .. math:: \mathrm{ELBO}(x_1, \ldots, x_M) + \sum_m \mathrm{ELBO}(x_m)
        + \sum_{j=1}^{k} \mathrm{ELBO}(X_j), \qquad X_j \subset \{x_1, \ldots, x_M\}

    On all modalities together an expert is never asked to guess alone, so that q(z | x_m) need not
    become a good one. A subset is made by hiding the others as missing. So each term is a bound on
    log p of what it is shown. Their sum is no bound on log p(x). A row that a subset would leave
    without a modality keeps what it has. (Wu & Goodman, 2018)

    The terms go through the objective as one batch of (1 + M + k) n rows. So a schedule within it
    counts one step for each step.

    Use:
        objective: a `MultimodalVAE` that shall guess one modality from another.

    Arguments:
        objective: An `Objective` of the pair.
        random: Random subsets, k. Each row draws its own anew at each step, every modality with
            probability one half. With two modalities they add nothing to those that are there.

    Raises:
        TypeError: if the objective is not of a `MultimodalVAE`, or `random` is no whole number.
            When trained or called, if a modality is made of whole numbers, which cannot be NaN.
        ValueError: if `random` is negative.

    Example:
        >>> pair = pv.MultimodalVAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihoods={"image": pv.Bernoulli(3, given=2), "text": pv.Bernoulli(3, given=2)},
        ...     experts={"image": pv.Normal(2, given=3), "text": pv.Normal(2, given=3)},
        ... )
        >>> pv.Subsets(pv.Objective(pair))(x, x).shape
        torch.Size([])
    """

    def __init__(self, objective: Objective, *, random: int = 0):
        super().__init__()

        if not isinstance(objective, Objective) or not isinstance(objective.pair, MultimodalVAE):
            raise TypeError(
                f"objective: expected a pv.Objective of a MultimodalVAE, got {objective!r}"
            )
        self.objective = objective
        self.random = check_whole("random", random, least=0)

    def check_training(self, *data: Tensor) -> None:
        for name, values in zip(self.objective.pair.likelihoods, data, strict=True):
            _refuse_whole_numbers(name, values)

    def forward(self, *x: Tensor) -> Tensor:
        for name, values in zip(self.objective.pair.likelihoods, x, strict=True):
            _refuse_whole_numbers(name, values)
        shown = torch.cat(list(self._choose(x)))
        x = tuple(values.repeat(self.terms, *(1,) * (values.dim() - 1)) for values in x)

        return self.terms * self.objective(*hide(x, shown))

    @property
    def terms(self) -> int:
        """How many terms the sum has, 1 + M + k."""
        return 1 + len(self.objective.pair.likelihoods) + self.random

    def _choose(self, x: tuple[Tensor, ...]) -> Iterator[Tensor]:
        """Which modalities each term shows, `[n, M]` each."""
        n, count, device = x[0].shape[0], len(x), x[0].device
        every = torch.ones(n, count, dtype=torch.bool, device=device)

        yield every
        for alone in torch.eye(count, dtype=torch.bool, device=device):
            yield alone.expand(n, count)
        for _ in range(self.random):
            yield torch.rand(n, count, device=device) < 0.5


def hide(x: tuple[Tensor, ...], shown: Tensor) -> tuple[Tensor, ...]:
    """The modalities, with NaN where one is not shown, `[n, M]`.

    A row that would be left without a modality keeps what it has.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [torch.nan]])
        >>> hide(x, torch.tensor([[True, False], [False, True]]))[0].flatten()
        tensor([1., 2.])
    """
    there = torch.stack([is_there(values) for values in x], -1)
    is_left = (shown & there).any(-1, keepdim=True)
    kept = (shown | ~is_left).unbind(-1)

    return tuple(
        torch.where(seen.reshape(-1, *(1,) * (values.dim() - 1)), values, torch.nan)
        for seen, values in zip(kept, x, strict=True)
    )


def _refuse_whole_numbers(name: str, values: Tensor) -> None:
    if not values.is_floating_point():
        raise TypeError(
            f"{name}: expected floats, in which a modality can be hidden as NaN, got "
            f"{values.dtype}; convert it, {name}.float()"
        )
