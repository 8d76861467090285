"""KL(q ‖ p) in closed form, of distributions that broadcast."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence


def closed_kl(q: Distribution, p: Distribution) -> Tensor:
    """KL(q ‖ p) in nats, in the batch shape that the two have when broadcast together.

    Independent normals beside a multivariate one are taken as a multivariate one.

    Raises:
        NotImplementedError: if neither torch nor Pyro has a closed form.

    Example:
        >>> from pyro.distributions import Normal
        >>> q, p = Normal(torch.zeros(5, 2), 1.0), Normal(torch.ones(3, 1, 2), 1.0)
        >>> closed_kl(q.to_event(1), p.to_event(1)).shape
        torch.Size([3, 5])
    """
    shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    # not every closed form broadcasts
    q, p = q.expand(shape), p.expand(shape)
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return kl_divergence(_join_normals(q), _join_normals(p))


def _join_normals(fn: Distribution) -> Distribution:
    """A vector of independent normals as the multivariate one."""
    base = fn.base_dist if isinstance(fn, Independent) else None
    if isinstance(base, Normal) and fn.reinterpreted_batch_ndims == 1:
        return MultivariateNormal(base.loc, scale_tril=base.scale.diag_embed())
    return fn
