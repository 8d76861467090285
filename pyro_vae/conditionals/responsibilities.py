"""The best q(y | x) that goes with a q(z | x)."""

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.arguments import check_type
from pyro_vae.conditionals.categories import OneHotCategorical  # noqa: F401  for the examples
from pyro_vae.conditionals.conditional import Conditional
from pyro_vae.conditionals.real import Normal  # noqa: F401  for the examples
from pyro_vae.distributions.kl import closed_kl


class Responsibilities(Conditional):
    r"""q(y | x) of a clustering model, from its own p(y), p(z | y) and q(z | x).

    .. math:: q(y \mid x) \propto p(y) \, e^{-KL(q(z \mid x) \,\|\, p(z \mid y))}

    Of all q(y | x) it has the largest ELBO, where neither p(x | z) nor q(z | x) is given y. So
    there is nothing to learn, and nothing lags behind. Where q(z | x) is a point it is the
    responsibility of each component of a mixture. Jiang et al. (2017) take the mean of p(y | z) in
    its place. (Bishop, 2006)

    Use:
        variational: the classifier of a `LabelledVAE` that is to find clusters.

    Arguments:
        labels: p(y) of the pair, one-hot, the same object.
        prior: p(z | y) of the pair, the same object.
        variational: q(z | x) of the pair, the same object.

    Raises:
        ValueError: if the prior is not given y alone, or its z is another than that of q.
            When it is called, if KL(q(z | x) ‖ p(z | y)) has no closed form.

    Example:
        >>> q = Normal(2, given=(1, 8, 8))
        >>> Responsibilities(OneHotCategorical(10), Normal(2, given=10), q)
        Responsibilities((10,) | (1, 8, 8))
    """

    def __init__(self, labels: Conditional, prior: Conditional, variational: Conditional):
        parts = {"labels": labels, "prior": prior, "variational": variational}
        for role, part in parts.items():
            check_type(role, part, Conditional, "a conditional, such as pv.Normal(2, given=3)")
        super().__init__(labels.event_shape, variational.given_shapes)

        if prior.given_shapes != [self.event_shape]:
            raise ValueError(
                f"prior: expected one that is given y {self.event_shape} alone, got {prior}"
            )
        if prior.event_shape != variational.event_shape:
            raise ValueError(
                f"variational: expected one over {prior.event_shape}, as the prior is, got "
                f"{variational}"
            )
        self.labels = labels
        self.prior = prior
        self.variational = variational

    @property
    def support(self) -> constraints.Constraint | None:
        return self.labels.support

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        q = self.variational(*given)
        log_p = self.labels().logits
        y = torch.eye(len(log_p), dtype=log_p.dtype, device=log_p.device)
        # one row for each y, left of the batch
        p = self.prior(y.reshape(len(y), *[1] * len(q.batch_shape), len(y)))

        return self._check_shapes(
            dist.OneHotCategorical(logits=log_p - self._find_kl(q, p).movedim(0, -1)), given
        )

    def _find_kl(self, q: dist.TorchDistribution, p: dist.TorchDistribution) -> Tensor:
        try:
            return closed_kl(q, p)
        except NotImplementedError:
            raise ValueError(
                f"KL(q(z|x) ‖ p(z|y)) has no closed form for {self.variational} and {self.prior}: "
                "take both from pv.Normal or pv.MultivariateNormal, or a classifier of its own, "
                "pv.OneHotCategorical(K, given=...)"
            ) from None
