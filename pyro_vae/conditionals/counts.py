"""Families over counts: without a largest, and with a total."""

from typing import ClassVar

import pyro.distributions as dist

from pyro_vae import distributions
from pyro_vae.conditionals.family import Family, family
from pyro_vae.conditionals.shapes import drop_last

Poisson = family(
    dist.Poisson,
    "rate",
    doc=r"""
    .. math:: p(a) = \frac{\lambda^a e^{-\lambda}}{a!}

    (Gopalan, Hofman & Blei, 2015)

    Use:
        likelihood: counts without a largest, with a variance near their mean.
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
        likelihood: counts that vary more than a Poisson. `total_count="free"` learns one r for each
            column.
    """,
)

GammaPoisson = family(
    distributions.GammaPoisson,
    "log_mean",
    "dispersion",
    doc=r"""
    .. math:: p(a) = \mathrm{NB}(a), \qquad E\, a = \mu, \qquad \mathrm{Var}\, a =
        \mu + \alpha \mu^2

    The negative binomial by its mean μ and its dispersion α. At `dispersion=0.0` it is a Poisson.
    See `exposed` for counts out of totals that differ. (Greenwood & Yule, 1920; Lopez, Regier,
    Cole, Jordan & Yosef, 2018)

    Use:
        likelihood: counts that vary more than a Poisson, by their mean. `dispersion="free"` learns
            one α for each column.
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
        likelihood: counts that vary widely and have many zeros, such as those of genes in single
            cells.
    """,
)


ZeroInflatedGammaPoisson = family(
    distributions.ZeroInflatedGammaPoisson,
    "log_mean",
    "dispersion",
    "gate_logits",
    doc=r"""
    .. math:: p(a) = g \, [a = 0] + (1 - g) \, \mathrm{GammaPoisson}(a; \mu, \alpha)

    (Greene, 1994; Lopez, Regier, Cole, Jordan & Yosef, 2018)

    Use:
        likelihood: as `GammaPoisson`, for counts that have more zeros than it.
    """,
)


class Binomial(Family):
    r"""p(a | b), successes in a known number of trials.

    .. math:: p(x) = \binom{n}{x} p^x (1 - p)^{n - x}

    A compiled loss scores it as any other. But its draws cannot be exported, so as a latent it runs
    uncompiled. (Johnson, Kemp & Kotz, 2005)

    Use:
        likelihood: counts out of a known total for each entry, successes in n trials.

    Arguments:
        event_shape, given, net: See `family`.
        total_count: n, a whole number, or a tensor of the event's shape.
        logits: log p / (1 - p). It is computed by the network, or fixed by giving it.

    Example:
        >>> Binomial((1, 8, 8), given=20, total_count=16)
        Binomial((1, 8, 8) | (20,), total_count=16)
    """

    distribution = dist.Binomial
    parameter_shapes: ClassVar = {"total_count": None, "logits": None}


class Multinomial(Family):
    r"""p(a | b), counts over classes given their total, which log p takes from each value.

    .. math:: \log p(x \mid N) = \log \frac{N!}{\prod_j x_j!} + \sum_j x_j \log p_j, \qquad N =
        \sum_j x_j

    As a likelihood it is p(x | z, N), where N is the total of x. It says nothing of N, and
    `simulate` draws x with the total `total_count`. A compiled loss scores it as any other. But its
    draws cannot be exported, so as a latent it runs uncompiled. See `distributions.Multinomial`.
    (Liang, Krishnan, Hoffman & Jebara, 2018)

    Use:
        likelihood: bags of words, clicks: what is counted, not how much in all.

    Arguments:
        event_shape: The shape of a. Its last dimension is the classes.
        given, net: See `family`.
        total_count: The total of a draw, by default 1. It is a whole number, or a tensor of the
            event's shape without the last dimension.
        logits: Those of the classes. They are computed by the network, or fixed by giving them.

    Raises:
        ValueError: if an event is a single number, not a vector.

    Example:
        >>> Multinomial(1000, given=20, total_count=50)
        Multinomial((1000,) | (20,), total_count=50)
    """

    distribution = distributions.Multinomial
    parameter_shapes: ClassVar = {"total_count": drop_last, "logits": None}
    defaults: ClassVar = {"total_count": 1}


class DirichletMultinomial(Multinomial):
    r"""p(a | b), counts over classes given their total, spread wider than `Multinomial`.

    .. math:: p(x \mid N) = \frac{N! \, \Gamma(A)}{\Gamma(N + A)} \prod_j
        \frac{\Gamma(x_j + a_j)}{x_j! \, \Gamma(a_j)}, \qquad N = \sum_j x_j, \quad A = \sum_j a_j

    A compiled loss scores it as any other. But its draws cannot be exported, so as a latent it runs
    uncompiled. See `distributions.DirichletMultinomial`. (Mosimann, 1962)

    Use:
        likelihood: bags whose words come in bursts: counts that vary more than a multinomial.

    Arguments:
        event_shape: The shape of a. Its last dimension is the classes.
        given, net: See `family`.
        total_count: The total of a draw, as for `Multinomial`.
        concentration: That of the classes. It is computed by the network, or fixed by giving it.

    Raises:
        ValueError: if an event is a single number, not a vector.

    Example:
        >>> DirichletMultinomial(1000, given=20)
        DirichletMultinomial((1000,) | (20,), total_count=1)
    """

    distribution = distributions.DirichletMultinomial
    parameter_shapes: ClassVar = {"total_count": drop_last, "concentration": None}
