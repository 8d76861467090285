"""Whether a trained pair worked, in plain words, by what was measured on data it has not seen."""

from torch import Tensor

from pyro_vae.diagnostics import Picture

CLEAR = 2  # standard errors over the data
INDEPENDENT = "if no entry of x depended on another"


def score_independent(train: Tensor, x: Tensor) -> Tensor:
    r"""log p(x) if no entry of x depended on another: each has the mean of the training data.

    .. math:: \sum_d x_d \log m_d + (1 - x_d) \log(1 - m_d), \qquad m_d = \frac{1/2 + \sum_i x_{id}}
        {1 + N}

    Any model of binary data that learned something predicts them better than this one.

    Arguments:
        train: Training data in [0, 1], `[N, *event]`.
        x: Zeros and ones, `[n, *event]`.

    Returns:
        One number for each row of x, `[n]`, in nats.

    Example:
        >>> score_independent(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0]])).exp()
        tensor([0.5000])
    """
    mean = (0.5 + train.sum(0)) / (1 + len(train))
    scores = x * mean.log() + (1 - x) * (1 - mean).log()

    return scores.flatten(1).sum(1)


def judge(picture: Picture, independent: Tensor | None = None) -> str:
    """Say first whether it worked, and by what.

    It did not work if a number is not finite, if no dimension of z is active, or if the ELBO is not
    clearly above `score_independent`, by two standard errors over the data. The ELBO is a lower
    bound on log p(x), so a gain by it is a gain.

    Arguments:
        picture: What `diagnostics.picture` returned.
        independent: What `score_independent` returned for the same data. Without it nothing is
            said about how good log p(x) is.

    Returns:
        A line that begins with the verdict, and one on z and q(z | x) where it did work.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.StandardNormal(2),
        ...     likelihood=pv.Bernoulli(3, given=2),
        ...     variational=pv.Normal(2, given=3),
        ... )
        >>> judge(pv.diagnostics.picture(vae, torch.ones(5, 3), num_samples=50))[:15]
        'It did not work'
    """
    log_p, elbo, latents = picture.log_evidence.value, picture.elbo.value, picture.latents
    lost = int((~log_p.isfinite() | ~elbo.isfinite()).sum())
    if lost:
        return f"It did not work: log p(x) is not finite for {lost} of {len(elbo)} data."
    if latents is not None and latents.count > 1 and not latents.active.any():
        return "It did not work: no dimension of z is in use, so z says nothing about x."
    if independent is None:
        said = "It ran: how good log p(x) is, only another model of the same data can say."
        return f"{said}\n{_describe_use(picture)}"

    gains = elbo - independent.to(elbo)
    gain, error = gains.mean().item(), gains.std().item() / len(gains) ** 0.5
    number = f"{gain:.2f} ± {error:.2f} nats"
    if not gain > CLEAR * error:
        return f"It did not work: new data are predicted no better than {INDEPENDENT}, {number}."

    said = f"It worked: new data are predicted {number} better than {INDEPENDENT}."
    return f"{said}\n{_describe_use(picture, gain)}"


def _describe_use(picture: Picture, gain: float | None = None) -> str:
    """How much of z is in use, and how far q(z | x) is from the posterior."""
    gap = picture.gap.value.mean().item()
    # where q is too narrow, log p(x) comes out too low, and the gap as well
    least = "at least " if picture.annealed is None and picture.untrusted() > 0 else ""
    said = f"q(z|x) is {least}{gap:.2f} nats from the posterior"
    if gain is not None:
        said += f", {100 * gap / gain:.0f} % of that"
    if picture.latents is None:
        return f"{said}."

    active = picture.latents.active
    return f"{int(active.sum())} of {len(active)} dimensions of z are in use, and {said}."
