"""Families over classes without order, and their relaxation to the simplex."""

from typing import ClassVar

import pyro.distributions as dist

from pyro_vae import distributions
from pyro_vae.conditionals.family import Family, family
from pyro_vae.conditionals.relaxed import Relaxed, one_number
from pyro_vae.conditionals.shapes import as_vector

Categorical = family(
    dist.Categorical,
    logits=lambda event, classes: (*event, classes),
    doc=r"""
    .. math:: p(a = k) = \pi_k

    (Van den Oord, Kalchbrenner & Kavukcuoglu, 2016)

    Use:
        prior: a discrete latent. `OneHotCategorical` is the same as a vector.
        likelihood: classes without order, or 256 levels where data are enough to learn each by
            itself.
        variational: a discrete latent, summed over with `TraceEnum_ELBO`, or by `VIMCO` and
            `ReweightedWakeSleep`.
    """,
)


class OneHotCategorical(Family):
    r"""p(a | b), categorical, where a is a vector with a single 1.

    .. math:: p(a) = \prod_k \pi_k^{a_k}

    `RelaxedCategorical` relaxes it. Under `TraceEnum_ELBO` a vector of one is summed over exactly,
    see `VAE`. (Kingma, Rezende, Mohamed & Welling, 2014)

    Use:
        prior: a discrete latent that a network reads as it is.
        likelihood: classes, given as one-hot vectors.
        variational: a discrete latent, summed over with `TraceEnum_ELBO`, or by `VIMCO` and
            `ReweightedWakeSleep`.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`. The last dimension is the
            classes.
        net: Builds the network, see `networks`.
        logits: log π up to a constant, `[*event]`. It is computed by the network, or fixed by
            giving it.

    Raises:
        ValueError: if an event is a single number, not a vector.

    Example:
        >>> OneHotCategorical(10, logits=0.0)
        OneHotCategorical((10,), logits=0.0)
    """

    distribution = dist.OneHotCategorical
    parameter_shapes: ClassVar = {"logits": as_vector}


class RelaxedCategorical(Relaxed):
    r"""p(a | b), a one-hot categorical relaxed to the simplex, so that draws have gradients.

    .. math:: a_k = \frac{e^{(\ell_k + g_k) / \tau}}{\sum_j e^{(\ell_j + g_j) / \tau}}, \qquad g_k
        \sim \mathrm{Gumbel}

    It is also known as Gumbel-softmax or concrete. As the temperature τ falls to 0 the draws become
    one-hot. `q.temperature = 0.5` changes it, between epochs for example. A share stops at 2^-120,
    which has the probability of all that is smaller, so that the densities of cold draws are true.

    A density on the simplex needs one for a prior: the same family,
    `RelaxedCategorical(K, logits=0.0, temperature=...)`. With a `OneHotCategorical` the objective
    would be no bound on log p(x). (Maddison, Mnih & Teh, 2017; Jang, Gu & Poole, 2017)

    Use:
        prior: for a relaxed q, at the same temperature.
        variational: a discrete latent trained by reparametrised draws, at the price of a relaxed
            model.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`. The last dimension is the
            classes.
        net: Builds the network, see `networks`.
        temperature: τ, above 0.
        logits: ℓ, `[*event]`. It is computed by the network, or fixed by giving it.

    Raises:
        ValueError: if the temperature is not positive and finite.

    Example:
        >>> q = RelaxedCategorical(10, given=(1, 28, 28), temperature=1.0)
        >>> q.temperature = 0.5
        >>> q
        RelaxedCategorical((10,) | (1, 28, 28), temperature=0.5)
    """

    distribution = distributions.RelaxedOneHotCategorical
    parameter_shapes: ClassVar = {"logits": as_vector, "temperature": one_number}
