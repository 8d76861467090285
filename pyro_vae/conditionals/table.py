"""The table of families: a family is a row, and what needs more is a small class below."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae import distributions
from pyro_vae.conditionals.family import Family, GivenLike, ShapeLike, _constrain, family, shrunk
from pyro_vae.networks import Builder, mlp


class Learned(Family):
    """A family of which parameters may be learned without being computed from b.

    Arguments:
        event_shape, given, net: See `family`.
        options: As `family` has them; besides, a parameter is "shared", one number for the whole event, or "free",
            one for each entry of it, learned either way and the same for every b.

    Raises:
        ValueError: if a parameter is given as another word, or is not of the event's shape.

    Example:
        >>> sigma = Normal((1, 28, 28), given=20, scale="shared")
        >>> sigma
        Normal((1, 28, 28) | (20,), scale=shared)
        >>> sigma.net.out_shape, sigma.scale_raw.shape
        ((1, 28, 28), torch.Size([]))
    """

    def __init__(
        self,
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        net: Builder | nn.Module = mlp,
        **options: float | Tensor | str,
    ):
        learned = {key: how for key, how in options.items() if isinstance(how, str)}
        for key, how in learned.items():
            whole = getattr(self.distribution.arg_constraints.get(key), "is_discrete", False)
            if how not in ("shared", "free") or self.specification.get(key, ()) is not None or whole:
                raise ValueError(
                    f"{key}: expected a number, a tensor, or for a parameter of the event's shape 'shared' (one "
                    f"learned number) or 'free' (one for each entry), got {how!r}"
                )
        start = {key: _constrain(self.distribution.arg_constraints[key], torch.zeros(())) for key in learned}
        super().__init__(event_shape, given, net, **{**options, **start})

        self.learned = learned
        for key, how in learned.items():
            self.register_buffer(f"fixed_{key}", getattr(self, f"fixed_{key}"), persistent=False)
            shape = () if how == "shared" else self.event_shape
            self.register_parameter(f"{key}_raw", nn.Parameter(torch.zeros(shape)))

    def parametrise(self, raw: Tensor) -> dict[str, Tensor]:
        values = super().parametrise(raw)
        for key in self.learned:
            value = _constrain(self.distribution.arg_constraints[key], getattr(self, f"{key}_raw"))
            values[key] = value.expand(self.event_shape)
        return values

    def options(self) -> dict[str, object]:
        return {**super().options(), **self.learned}


def _row(cls, *parameters: str, **shapes) -> type[Family]:
    base = family(cls, *parameters, **shapes)
    return type(base.__name__, (Learned, base), {"__doc__": base.__doc__, "__module__": __name__})


Normal = _row(dist.Normal, "loc", "scale")
Laplace = _row(dist.Laplace, "loc", "scale")
StudentT = _row(dist.StudentT, "df", "loc", "scale")
LogitNormal = _row(distributions.LogitNormal, "loc", "scale")
VonMises = _row(distributions.VonMises, "loc", "concentration")
Gamma = _row(dist.Gamma, "concentration", "rate")
Beta = family(distributions.Beta, "concentration1", "concentration0")
Bernoulli = family(distributions.Bernoulli, "logits")
ContinuousBernoulli = family(distributions.ContinuousBernoulli, "logits")
Categorical = family(dist.Categorical, logits=lambda event, classes: (*event, classes))
Poisson = family(dist.Poisson, "rate")
NegativeBinomial = _row(dist.NegativeBinomial, "total_count", "logits")
ZeroInflatedPoisson = _row(dist.ZeroInflatedPoisson, "rate", "gate_logits")
ZeroInflatedNegativeBinomial = _row(distributions.ZeroInflatedNegativeBinomial, "total_count", "logits", "gate_logits")
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
