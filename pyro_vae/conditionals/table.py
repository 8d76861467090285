"""The table of families: a family is a row, and what needs more is a small class below."""

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae import distributions
from pyro_vae.conditionals.family import ShapeLike, family, shrunk

Normal = family(
    dist.Normal,
    "loc",
    "scale",
    doc=r"""
    .. math:: p(a) = \frac{1}{\sqrt{2 \pi} \, \sigma} \, e^{-(a - \mu)^2 / 2 \sigma^2}

    (Kingma & Welling, 2014)

    Use:
        prior: where location and scale shall be learned; otherwise `StandardNormal`.
        likelihood: real values with noise: `scale=0.1` fixes σ, `scale="shared"` learns one, "free"
            one for each pixel.
        variational: the first choice, fast and robust; it misses correlations between the latents.
    """,
)
Laplace = family(
    dist.Laplace,
    "loc",
    "scale",
    doc=r"""
    .. math:: p(a) = \frac{1}{2 s} \, e^{-|a - m| / s}

    (Laplace, 1774)

    Use:
        prior: latents of which most shall be near zero (sparse).
        likelihood: real values with outliers, scored by their absolute distance.
        variational: where the posterior has heavier tails than the normal.
    """,
)
StudentT = family(
    dist.StudentT,
    "df",
    "loc",
    "scale",
    doc=r"""
    .. math:: p(a) \propto \Big(1 + \frac{(a - m)^2}{\nu s^2}\Big)^{-(\nu + 1) / 2}

    (Student, 1908)

    Use:
        prior: latents with heavy tails, clusters far apart among them.
        likelihood: real values with gross outliers.
        variational: for importance sampling: tails above those of the posterior keep the weights
            bounded.
    """,
)
LogitNormal = family(
    distributions.LogitNormal,
    "loc",
    "scale",
    doc=r"""
    .. math:: \mathrm{logit}\, a \sim N(\mu, \sigma^2)

    (Aitchison & Shen, 1980)

    Use:
        prior: latents in (0, 1).
        likelihood: values strictly within (0, 1), with a single mode or two.
        variational: a reparametrised q in (0, 1).
    """,
)
VonMises = family(
    distributions.VonMises,
    "loc",
    "concentration",
    doc=r"""
    .. math:: p(a) = \frac{e^{\kappa \cos(a - \mu)}}{2 \pi I_0(\kappa)}

    (Von Mises, 1918)

    Use:
        likelihood: angles in radians, within [-π, π].
    """,
)
Gamma = family(
    dist.Gamma,
    "concentration",
    "rate",
    doc=r"""
    .. math:: p(a) = \frac{\beta^\alpha}{\Gamma(\alpha)} \, a^{\alpha - 1} e^{-\beta a}

    (Johnson, Kotz & Balakrishnan, 1994)

    Use:
        prior: positive latents, rates or loadings that only add.
        likelihood: positive values: durations, amounts, intensities.
        variational: positive latents; reparametrised (implicitly).
    """,
)
Beta = family(
    distributions.Beta,
    "concentration1",
    "concentration0",
    doc=r"""
    .. math:: p(a) \propto a^{\alpha - 1} (1 - a)^{\beta - 1}

    (Johnson, Kotz & Balakrishnan, 1995)

    Use:
        prior: latents in (0, 1), also those that crowd at both ends.
        likelihood: values strictly within (0, 1), shares for one; move exact 0 and 1 off the edge.
        variational: latents in (0, 1); reparametrised (implicitly).
    """,
)
Bernoulli = family(
    distributions.Bernoulli,
    "logits",
    doc=r"""
    .. math:: p(a) = \pi^a (1 - \pi)^{1 - a}, \qquad \mathrm{logit}\, \pi \text{ the parameter}

    (Kingma & Welling, 2014)

    Use:
        prior: binary latents.
        likelihood: binary values, binarised images; grey ones need `ContinuousBernoulli`.
        variational: binary latents, with `gradient="leave_one_out"`, `VIMCO` or
            `ReweightedWakeSleep`.
    """,
)
ContinuousBernoulli = family(
    distributions.ContinuousBernoulli,
    "logits",
    doc=r"""
    .. math:: p(a) = C(\eta) \, e^{\eta a}, \qquad C(\eta) = \frac{\eta}{e^\eta - 1}

    (Loaiza-Ganem & Cunningham, 2019)

    Use:
        likelihood: grey values in [0, 1], the ends included, where the Bernoulli would not be
            normalised.
    """,
)
Categorical = family(
    dist.Categorical,
    logits=lambda event, classes: (*event, classes),
    doc=r"""
    .. math:: p(a = k) = \pi_k

    (Van den Oord, Kalchbrenner & Kavukcuoglu, 2016)

    Use:
        prior: a discrete latent; `OneHotCategorical` is the same as a vector.
        likelihood: classes without order; 256 levels where there are data enough to learn each by
            itself.
        variational: a discrete latent: summed over with `TraceEnum_ELBO`, or by `VIMCO`,
            `ReweightedWakeSleep`.
    """,
)
Poisson = family(
    dist.Poisson,
    "rate",
    doc=r"""
    .. math:: p(a) = \frac{\lambda^a e^{-\lambda}}{a!}

    (Gopalan, Hofman & Blei, 2015)

    Use:
        likelihood: counts without a largest, whose variance is near their mean.
    """,
)
NegativeBinomial = family(
    dist.NegativeBinomial,
    "total_count",
    "logits",
    doc=r"""
    .. math:: p(a) = \binom{a + r - 1}{a} (1 - \pi)^r \pi^a

    (Lopez, Regier, Cole, Jordan & Yosef, 2018)

    Use:
        likelihood: counts that vary more than a Poisson; `total_count="free"` learns one r for each
            column.
    """,
)
ZeroInflatedPoisson = family(
    distributions.ZeroInflatedPoisson,
    "rate",
    "gate_logits",
    doc=r"""
    .. math:: p(a) = g \, [a = 0] + (1 - g) \, \mathrm{Poisson}(a; \lambda)

    (Lambert, 1992)

    Use:
        likelihood: counts with more zeros than a Poisson has.
    """,
)
ZeroInflatedNegativeBinomial = family(
    distributions.ZeroInflatedNegativeBinomial,
    "total_count",
    "logits",
    "gate_logits",
    doc=r"""
    .. math:: p(a) = g \, [a = 0] + (1 - g) \, \mathrm{NB}(a; r, \pi)

    (Greene, 1994; Lopez, Regier, Cole, Jordan & Yosef, 2018)

    Use:
        likelihood: counts that vary widely and have many zeros, of genes in single cells for one.
    """,
)
MultivariateNormal = family(
    dist.MultivariateNormal,
    "loc",
    scale_tril=lambda event: (*event, event[-1]),
    doc=r"""
    .. math:: a \sim N(\mu, L L^\top)

    (Titsias & Lázaro-Gredilla, 2014)

    Use:
        prior: correlated latents.
        likelihood: few real values with correlated noise.
        variational: the posterior of correlated latents, up to some tens; best with sticking the
            landing.
    """,
)


class LowRankNormal(
    family(
        dist.LowRankMultivariateNormal,
        "loc",
        "cov_diag",
        cov_factor=lambda event, rank: (*event[:-1], event[-1], rank),
    )
):
    r"""p(a | b), a `LowRankMultivariateNormal`: covariance W Wᵀ + D, W of `rank` columns; see
    `family`.

    .. math:: a \sim N(\mu, W W^\top + D)

    A learned W is held to 300 times √D in norm: beyond, float32 no longer tells D from zero. Free
    parameters start at random, for at W = 0 its gradient is zero for ever. (Ong, Nott & Smith,
    2018)

    Use:
        prior: many latents with a few common causes.
        likelihood: real values whose noise is correlated along a few directions.
        variational: the posterior of many latents, correlated along a few directions.

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
    r"""N(0, I), with nothing to learn; its numbers are buffers and follow the module to a device.

    .. math:: p(a) = N(a; 0, I)

    (Kingma & Welling, 2014)

    Use:
        prior: the first choice, to which the others are compared.

    Arguments:
        event_shape: The shape of an event; an int is a vector.

    Example:
        >>> StandardNormal(20)
        StandardNormal((20,))
        >>> StandardNormal(20)().event_shape
        torch.Size([20])
    """

    def __init__(self, event_shape: ShapeLike):
        super().__init__(event_shape, loc=0.0, scale=1.0)

    def options(self) -> dict[str, object]:
        return {}
