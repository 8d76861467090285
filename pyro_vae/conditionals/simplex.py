"""Families on the simplex, for latents that are proportions, and on its corners."""

import pyro.distributions as dist

from pyro_vae import distributions
from pyro_vae.conditionals.family import family


def _last(event: tuple[int, ...], less: int = 0) -> tuple[int, ...]:
    return (*event[:-1], event[-1] - less)


class Dirichlet(family(distributions.Dirichlet, concentration=lambda event: _last(event))):
    r"""p(a | b), Dirichlet: positive numbers that add up to one over the last dimension.

    .. math:: p(a) = \frac{\Gamma(\sum_k \alpha_k)}{\prod_k \Gamma(\alpha_k)} \prod_k a_k^{\alpha_k
    - 1}

    Reparametrised (implicitly). As a prior fix it, `Dirichlet(10, concentration=0.3)`. (Figurnov,
    Mohamed & Mnih, 2018; Joo, Lee, Park & Moon, 2020)

    Use:
        prior: proportions; below one, α makes most of them small.
        likelihood: proportions that add up to one, without an exact 0.
        variational: proportions; reparametrised (implicitly), with a closed KL to a Dirichlet
            prior.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`.
        net: Builds the network, see `networks`.
        concentration: α, `[*event]`, above 0; by default from the network.

    Raises:
        ValueError: if an event is a single number, not a vector.

    Example:
        >>> Dirichlet(10, concentration=0.5)
        Dirichlet((10,), concentration=0.5)
    """


class LogisticNormal(
    family(
        dist.LogisticNormal, loc=lambda event: _last(event, 1), scale=lambda event: _last(event, 1)
    )
):
    r"""p(a | b), logistic-normal: a normal of K - 1 numbers, brought to the simplex of K by
    breaking a stick.

    .. math:: \log \frac{(K - k) \, a_k}{1 - \sum_{j \le k} a_j} \sim N(\mu_k, \sigma_k^2), \qquad k
    < K

    At μ = 0 the middle of it is 1/K each.

    Reparametrised. (Aitchison, 1982; Linderman, Johnson & Adams, 2015)

    Use:
        prior: proportions, of topics for one, without the Dirichlet's sharp corners.
        likelihood: proportions that add up to one, with a single mode.
        variational: proportions, quicker and steadier than the Dirichlet.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`; the last dimension is K, at
            least 2.
        net: Builds the network, see `networks`.
        loc, scale: μ and σ, K - 1 in the last dimension; by default from the network.

    Raises:
        ValueError: if an event is a single number, or K is below 2.

    Example:
        >>> LogisticNormal(10, given=20)
        LogisticNormal((10,) | (20,))
    """

    def __init__(self, event_shape, *args, **options):
        super().__init__(event_shape, *args, **options)

        if self.event_shape[-1] < 2:
            raise ValueError(
                f"LogisticNormal: expected an event_shape whose last dimension is at least 2, got {self.event_shape}; "
                "a single proportion is always 1"
            )


class OneHotCategorical(family(dist.OneHotCategorical, logits=lambda event: _last(event))):
    r"""p(a | b), categorical, a a vector with a single 1; what `RelaxedCategorical` relaxes.

    .. math:: p(a) = \prod_k \pi_k^{a_k}

    (Kingma, Rezende, Mohamed & Welling, 2014)

    Under `TraceEnum_ELBO` a vector of one is summed over exactly, see `VAE`.

    Use:
        prior: a discrete latent that a network reads as it is.
        likelihood: classes, given as one-hot vectors.
        variational: a discrete latent: summed over with `TraceEnum_ELBO`, or by `VIMCO`,
            `ReweightedWakeSleep`.

    Arguments:
        event_shape, given: The shapes of a and b, see `Conditional`; the last dimension is the
            classes.
        net: Builds the network, see `networks`.
        logits: log π up to a constant, `[*event]`; by default from the network.

    Raises:
        ValueError: if an event is a single number, not a vector.

    Example:
        >>> OneHotCategorical(10, logits=0.0)
        OneHotCategorical((10,), logits=0.0)
    """
