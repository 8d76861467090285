"""The table of families: a family is a row, and what needs more is a small class below."""

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae import distributions
from pyro_vae.conditionals.family import ShapeLike, family, shrunk

Normal = family(dist.Normal, "loc", "scale")
Laplace = family(dist.Laplace, "loc", "scale")
StudentT = family(dist.StudentT, "df", "loc", "scale")
Gamma = family(dist.Gamma, "concentration", "rate")
Beta = family(dist.Beta, "concentration1", "concentration0")
Bernoulli = family(distributions.Bernoulli, "logits")
ContinuousBernoulli = family(distributions.ContinuousBernoulli, "logits")
Categorical = family(dist.Categorical, logits=lambda event, classes: (*event, classes))
Poisson = family(dist.Poisson, "rate")
NegativeBinomial = family(dist.NegativeBinomial, "total_count", "logits")
MultivariateNormal = family(dist.MultivariateNormal, "loc", scale_tril=lambda event: (*event, event[-1]))


class LowRankNormal(
    family(
        dist.LowRankMultivariateNormal,
        "loc",
        "cov_diag",
        cov_factor=lambda event, rank: (*event[:-1], event[-1], rank),
    )
):
    """p(a | b), a `LowRankMultivariateNormal`: covariance W Wᵀ + D, W of `rank` columns; see `family`.

    A learned W is held to 300 times √D in norm: beyond, float32 no longer tells D from zero. Free parameters
    start at random, for at W = 0 its gradient is zero for ever.

    Example:
        >>> LowRankNormal(20, given=(1, 28, 28), rank=2)
        LowRankNormal((20,) | (1, 28, 28), rank=2)
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)

        if self.raw is not None:
            nn.init.normal_(self.raw)

    def parametrise(self, raw: Tensor) -> dict[str, Tensor]:
        values = super().parametrise(raw)
        if "cov_factor" not in self.fixed:
            w = shrunk(values["cov_factor"], 300.0, dims=2)
            values["cov_factor"] = values["cov_diag"].sqrt().unsqueeze(-1) * w
        return values


class StandardNormal(Normal):
    """N(0, I), with nothing to learn; its numbers are buffers and follow the module to a device.

    Arguments:
        event_shape: The shape of an event; an int is a vector.

    Example:
        >>> StandardNormal(20)().event_shape
        torch.Size([20])
    """

    def __init__(self, event_shape: ShapeLike):
        super().__init__(event_shape, loc=0.0, scale=1.0)

    def options(self) -> dict[str, object]:
        return {}
