"""Families with a whole number that is known beforehand: how many levels, classes or trials."""

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae import distributions
from pyro_vae.conditionals.family import Family, GivenLike, ShapeLike
from pyro_vae.networks import Builder, Shape, mlp


class Binomial(Family):
    r"""p(a | b), successes in a known number of trials.

    .. math:: p(x) = \binom{n}{x} p^x (1 - p)^{n - x}

    Scored by a compiled loss it is as any other, but its draws cannot be exported: as a latent it
    runs uncompiled. (Johnson, Kemp & Kotz, 2005)

    Use:
        likelihood: counts out of a known total for each entry, successes in n trials.

    Arguments:
        event_shape, given, net: See `family`.
        total_count: n, a whole number, or a tensor of the event's shape.
        logits: log p / (1 - p); computed by the network, or fixed by giving it.

    Example:
        >>> Binomial((1, 8, 8), given=20, total_count=16)
        Binomial((1, 8, 8) | (20,), total_count=16)
    """

    distribution = dist.Binomial
    specification = {"total_count": None, "logits": None}  # noqa: RUF012


class DiscretisedLogistic(Family):
    r"""p(a | b), a logistic variable rounded to levels 0, ..., levels - 1; see
    `distributions.DiscretisedLogistic`.

    .. math:: p(x) = \sigma\Big(\frac{u + h - \mu}{s}\Big) - \sigma\Big(\frac{u - h - \mu}{s}\Big),
        \qquad u = 2xh - 1, \quad h = \frac{1}{L - 1}

    (Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling, 2016)

    Use:
        likelihood: bytes and other levels with an order, of which neighbours are alike.

    Arguments:
        event_shape, given, net: See `family`.
        levels: How many, a whole number from 2, or a tensor of the event's shape; 256 for bytes.
        loc, scale: In units in which the lowest level is -1 and the highest 1; computed by the
            network, or fixed.

    Example:
        >>> DiscretisedLogistic((3, 32, 32), given=64, levels=256, scale="shared")
        DiscretisedLogistic((3, 32, 32) | (64,), levels=256, scale=shared)
    """

    distribution = distributions.DiscretisedLogistic
    specification = {"levels": None, "loc": None, "scale": None}  # noqa: RUF012


def _components(event: Shape, components: int) -> Shape:
    return (*event, components)


class DiscretisedLogisticMixture(Family):
    r"""p(a | b), at every entry a mixture of discretised logistics. (Salimans, Karpathy, Chen &
    Kingma, 2017)

    .. math:: p(x) = \sum_c \pi_c \, p_c(x), \qquad p_c \text{ a } \texttt{DiscretisedLogistic}

    Free parameters start at random, for equal components would have equal gradients for ever.

    Use:
        likelihood: bytes with several likely values, of colour images for one.

    Arguments:
        event_shape, given, net: See `family`.
        levels: As `DiscretisedLogistic` has them.
        components: How many, at each entry.
        logits, loc, scale: Of the components; computed by the network, or fixed.

    Example:
        >>> DiscretisedLogisticMixture((3, 32, 32), given=64, levels=256, components=10)
        DiscretisedLogisticMixture((3, 32, 32) | (64,), components=10, levels=256)
    """

    distribution = distributions.DiscretisedLogisticMixture
    specification = {
        "levels": None,
        "logits": _components,
        "loc": _components,
        "scale": _components,
    }  # noqa: RUF012

    def __init__(self, *args, **options):
        super().__init__(*args, **options)

        if self.raw is not None:
            nn.init.normal_(self.raw)


def _gaps(event: Shape, classes: int) -> Shape:
    if classes < 2:
        raise ValueError(f"classes: expected at least 2 ordered classes, got {classes}")
    return (*event, classes - 2)


class Ordinal(Family):
    r"""p(a | b), ordered classes by cumulative logits; see `distributions.Ordinal`. (McCullagh,
    1980)

    .. math:: p(x \le j) = \sigma(c_j - \mu), \qquad c_j - c_{j-1} = g_j > 0, \quad c_0 + c_{L-2} =
    0

    Use:
        likelihood: classes with an order but no distances, grades and ratings for two.

    Arguments:
        event_shape, given, net: See `family`.
        classes: How many, a whole number from 2.
        loc: The centre of the logistic variable; computed by the network, or fixed.
        gaps: Between neighbouring thresholds, `[*event, classes - 2]`; computed by the network, or
            fixed.

    Example:
        >>> Ordinal(3, given=20, classes=5)
        Ordinal((3,) | (20,), classes=5)
    """

    distribution = distributions.Ordinal
    specification = {"loc": None, "gaps": _gaps}  # noqa: RUF012


def _totals(event: Shape) -> Shape:
    rows = list(event)
    rows.pop()
    return tuple(rows)


class Multinomial(Family):
    r"""p(a | b), counts over classes given their total, which log p takes from each value; see
    `distributions`.

    .. math:: \log p(x \mid N) = \log \frac{N!}{\prod_j x_j!} + \sum_j x_j \log p_j, \qquad N =
    \sum_j x_j

    As a likelihood it is p(x | z, N), N the total of x: nothing is said of N, and `simulate` draws
    x of `total_count`. Scored by a compiled loss it is as any other, but its draws cannot be
    exported: as a latent it runs uncompiled. (Liang, Krishnan, Hoffman & Jebara, 2018)

    Use:
        likelihood: bags of words, clicks: what is counted, not how much in all.

    Arguments:
        event_shape: Its last dimension is the classes.
        given, net: See `family`.
        total_count: The total of a draw, a whole number, or a tensor of the event's shape without
            the last dimension.
        logits: Of the classes; computed by the network, or fixed.

    Example:
        >>> Multinomial(1000, given=20, total_count=50)
        Multinomial((1000,) | (20,), total_count=50)
    """

    distribution = distributions.Multinomial
    specification = {"total_count": _totals, "logits": None}  # noqa: RUF012

    def __init__(
        self,
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        net: Builder | nn.Module = mlp,
        *,
        total_count: int | Tensor = 1,
        **options: float | Tensor | str,
    ):
        super().__init__(event_shape, given, net, total_count=total_count, **options)


class DirichletMultinomial(Multinomial):
    r"""p(a | b), counts over classes given their total, spread wider than `Multinomial`; see
    `distributions`.

    .. math:: p(x \mid N) = \frac{N! \, \Gamma(A)}{\Gamma(N + A)} \prod_j
        \frac{\Gamma(x_j + a_j)}{x_j! \, \Gamma(a_j)}, \qquad N = \sum_j x_j, \quad A = \sum_j a_j

    Scored by a compiled loss it is as any other, but its draws cannot be exported: as a latent it
    runs uncompiled. (Mosimann, 1962)

    Use:
        likelihood: bags whose words come in bursts: counts that vary more than a multinomial.

    Arguments:
        event_shape: Its last dimension is the classes.
        given, net: See `family`.
        total_count: The total of a draw, as `Multinomial` has it.
        concentration: Of the classes; computed by the network, or fixed.

    Example:
        >>> DirichletMultinomial(1000, given=20)
        DirichletMultinomial((1000,) | (20,), total_count=1)
    """

    distribution = distributions.DirichletMultinomial
    specification = {"total_count": _totals, "concentration": None}  # noqa: RUF012
