"""Missing values: a likelihood that scores what is observed."""

import pyro.distributions as dist
import torch  # noqa: F401  for the example
from torch import Tensor
from torch.distributions import constraints

from pyro_vae import distributions
from pyro_vae.conditionals.conditional import Conditional


class missing(Conditional):
    r"""A likelihood for x in which NaN marks a missing cell. It scores the observed cells only.

    .. math:: \log p(x_\mathrm{obs} \mid z) = \sum_{j \in \mathrm{obs}} \log p(x_j \mid z)

    That is right if cells are missing at random: whether a cell is missing may depend on what is
    observed, and on nothing else. `masked` tells the variational which cells are missing. Draws of
    x are complete. With a mask in place of NaN, pass `x.masked_fill(~mask, torch.nan)`. Counts and
    classes are floats then. (Mattei & Frellsen, 2019)

    Use:
        likelihood: data with missing cells, NaN. `masked` tells the encoder of them.

    Arguments:
        likelihood: p(x | z), independent over the cells of x given z, or a mixture of such.

    Raises:
        TypeError: if the likelihood is no conditional. When called, if its cells are not
            independent.

    Example:
        >>> import pyro_vae as pv
        >>> pv.missing(pv.Normal(3, given=2))
        missing(Normal((3,) | (2,)))
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.missing(pv.Normal(3, given=2)),
        ...     variational=pv.Normal(2, given=3, net=pv.masked(pv.networks.mlp)),
        ... )
        >>> x = torch.tensor([[0.0, torch.nan, 1.0], [2.0, 3.0, torch.nan]])
        >>> pv.Objective(vae)(x).isfinite().item()
        True
    """

    takes_missing = True

    def __init__(self, likelihood: Conditional):
        if not isinstance(likelihood, Conditional):
            raise TypeError(
                f"likelihood: expected a conditional, pv.Normal(3, given=2), got {likelihood!r}"
            )
        super().__init__(likelihood.event_shape, list(likelihood.given_shapes) or None)

        self.likelihood = likelihood

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        return distributions.Missing(self.likelihood(*given))

    @property
    def given_supports(self) -> list[constraints.Constraint | None]:
        return self.likelihood.given_supports

    def __repr__(self) -> str:
        return f"missing({self.likelihood!r})"
