"""Families over levels and classes with an order."""

from typing import ClassVar

from pyro_vae import distributions
from pyro_vae.conditionals.family import Family
from pyro_vae.networks import Shape


class DiscretisedLogistic(Family):
    r"""p(a | b), a logistic variable rounded to levels 0, ..., levels - 1.

    .. math:: p(x) = \sigma\Bigl(\frac{u + h - \mu}{s}\Bigr) -
        \sigma\Bigl(\frac{u - h - \mu}{s}\Bigr), \qquad u = 2xh - 1, \quad h = \frac{1}{L - 1}

    See `distributions.DiscretisedLogistic`. (Kingma, Salimans, Jozefowicz, Chen, Sutskever &
    Welling, 2016)

    Use:
        likelihood: bytes, and other levels with an order where neighbours are alike.

    Arguments:
        event_shape, given, net: See `family`.
        levels: How many, a whole number from 2, or a tensor of the event's shape. Bytes have 256.
        loc, scale: μ and s. The lowest level is at -1 and the highest at 1. Each is computed by the
            network, or fixed by giving it.

    Example:
        >>> DiscretisedLogistic((3, 32, 32), given=64, levels=256, scale="shared")
        DiscretisedLogistic((3, 32, 32) | (64,), levels=256, scale=shared)
    """

    distribution = distributions.DiscretisedLogistic
    parameter_shapes: ClassVar = {"levels": None, "loc": None, "scale": None}


def _components(event: Shape, components: int) -> Shape:
    return (*event, components)


class DiscretisedLogisticMixture(Family):
    r"""p(a | b), at every entry a mixture of discretised logistics.

    .. math:: p(x) = \sum_c \pi_c \, p_c(x), \qquad p_c \text{ a } \mathtt{DiscretisedLogistic}

    Free parameters start at random, because equal components have equal gradients and stay equal.
    (Salimans, Karpathy, Chen & Kingma, 2017)

    Use:
        likelihood: bytes with several likely values, such as those of colour images.

    Arguments:
        event_shape, given, net: See `family`.
        levels: As for `DiscretisedLogistic`.
        components: How many, at each entry.
        logits, loc, scale: Those of the components. Each is computed by the network, or fixed by
            giving it.

    Example:
        >>> DiscretisedLogisticMixture((3, 32, 32), given=64, levels=256, components=10)
        DiscretisedLogisticMixture((3, 32, 32) | (64,), components=10, levels=256)
    """

    distribution = distributions.DiscretisedLogisticMixture
    parameter_shapes: ClassVar = {
        "levels": None,
        "logits": _components,
        "loc": _components,
        "scale": _components,
    }
    starts_at_random = True


def _gaps(event: Shape, classes: int) -> Shape:
    if classes < 2:
        raise ValueError(f"classes: expected at least 2 ordered classes, got {classes}")
    return (*event, classes - 2)


class Ordinal(Family):
    r"""p(a | b), ordered classes by cumulative logits.

    .. math:: p(x \le j) = \sigma(c_j - \mu), \qquad c_j - c_{j-1} = g_j > 0, \quad c_0 + c_{L-2} =
        0

    See `distributions.Ordinal`. (McCullagh, 1980)

    Use:
        likelihood: classes with an order but no distances, such as grades and ratings.

    Arguments:
        event_shape, given, net: See `family`.
        classes: How many, a whole number from 2.
        loc: The centre of the logistic variable. It is computed by the network, or fixed by giving
            it.
        gaps: Those between neighbouring thresholds, `[*event, classes - 2]`. They are computed by
            the network, or fixed by giving them.

    Example:
        >>> Ordinal(3, given=20, classes=5)
        Ordinal((3,) | (20,), classes=5)
    """

    distribution = distributions.Ordinal
    parameter_shapes: ClassVar = {"loc": None, "gaps": _gaps}
