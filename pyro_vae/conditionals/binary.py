"""Families over zeros and ones, and their relaxation to (0, 1)."""

from typing import ClassVar

from pyro_vae import distributions
from pyro_vae.conditionals.family import family
from pyro_vae.conditionals.relaxed import Relaxed, one_number

Bernoulli = family(
    distributions.Bernoulli,
    "logits",
    doc=r"""
    .. math:: p(a) = \pi^a (1 - \pi)^{1 - a}, \qquad \mathrm{logit}\, \pi \text{ the parameter}

    (Kingma & Welling, 2014)

    Use:
        prior: binary latents.
        likelihood: binary values, such as binarised images. Grey ones need `ContinuousBernoulli`.
        variational: binary latents, with `gradient="leave_one_out"`, `VIMCO` or
            `ReweightedWakeSleep`.
    """,
)


class RelaxedBernoulli(Relaxed):
    r"""p(a | b), Bernoullis relaxed to (0, 1), so that draws have gradients.

    .. math:: a = \sigma((\ell + u) / \tau), \qquad u \sim \mathrm{Logistic}(0, 1)

    Its prior is of the same family, `RelaxedBernoulli(D, logits=0.0, temperature=...)`. See
    `RelaxedCategorical`. Draws stop at a distance of 2^-20 from 0 and 1, and these two values have
    a probability instead of a density. `Logistic` is the same on the scale of logits, without the
    stop. (Maddison, Mnih & Teh, 2017)

    Use:
        prior: for a relaxed q, at the same temperature.
        variational: binary latents trained by reparametrised draws, at the price of a relaxed
            model.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`.
        net: Builds the network, see `networks`.
        temperature: τ, above 0.
        logits: ℓ, of the event's shape. It is computed by the network, or fixed by giving it.

    Raises:
        ValueError: if the temperature is not positive and finite.

    Example:
        >>> RelaxedBernoulli(20, given=(1, 28, 28), temperature=0.5)
        RelaxedBernoulli((20,) | (1, 28, 28), temperature=0.5)
    """

    distribution = distributions.RelaxedBernoulli
    parameter_shapes: ClassVar = {"logits": None, "temperature": one_number}
