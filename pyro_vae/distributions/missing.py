"""Values of which some are missing."""

from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch import distributions as td
from torch.distributions import constraints, transform_to

from pyro_vae.distributions.columns import Product
from pyro_vae.distributions.mixture import Mixture
from pyro_vae.supports import OrMissing, elementwise


class Missing(TorchDistribution):
    r"""A distribution over the observed cells of x. NaN marks a missing cell.

    .. math:: \log p(x_\mathrm{obs}) = \log \int p(x) \, dx_\mathrm{mis}

    log p is that of the observed cells, and the others are integrated out. That is right if cells
    are missing at random: whether a cell is missing may depend on what is observed, and on nothing
    else. (Rubin, 1976)

    Arguments:
        complete: p(x), independent over its cells, or a mixture of such.

    Raises:
        TypeError: if p(x) is neither.

    Example:
        >>> p = Missing(dist.Normal(torch.zeros(2), 1.0).to_event(1))
        >>> round(p.log_prob(torch.tensor([0.0, torch.nan])).item(), 4)
        -0.9189
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, complete: TorchDistribution, validate_args: bool | None = None):
        _check_independent(complete)
        self.complete = complete
        super().__init__(complete.batch_shape, complete.event_shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:
        return self.complete.has_rsample

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        cell = OrMissing(elementwise(self.complete.support))
        dims = len(self.event_shape)

        return constraints.independent(cell, dims) if dims else cell

    def expand(self, batch_shape: Size, _instance=None) -> "Missing":
        return Missing(self.complete.expand(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return _log_observed(self.complete, value)

    def given_observed(self, value: Tensor) -> TorchDistribution:
        """p(x_mis | x_obs), as a distribution over complete x."""
        p = self.complete
        if not _is_mixture(p):
            return p

        components = p.component_distribution
        log_p = _log_observed(components, p._pad(value))
        log_w = p.mixture_distribution.logits + log_p

        return Mixture(dist.Categorical(logits=log_w), components.expand(log_w.shape))

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return self.complete.sample(sample_shape)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return self.complete.rsample(sample_shape)

    @property
    def mean(self) -> Tensor:
        return self.complete.mean


def log_cells(p: td.Distribution, value: Tensor) -> Tensor:
    """The log probability of each cell by itself, `[*batch, *event]`, for values without NaN."""
    if isinstance(p, td.Independent):
        return log_cells(p.base_dist, value)
    if isinstance(p, Product):
        columns = p.split(value)
        return torch.cat([log_cells(part, columns[name]) for name, part in p.parts.items()], -1)
    if _is_mixture(p):
        log_w = p._pad_mixture_dimensions(p.mixture_distribution.logits.log_softmax(-1))
        log_p = log_cells(p.component_distribution, p._pad(value))
        return (log_w + log_p).logsumexp(-1 - len(p.event_shape))
    return p.log_prob(value)


def _log_observed(p: td.Distribution, value: Tensor) -> Tensor:
    if _is_mixture(p):
        log_w = p.mixture_distribution.logits.log_softmax(-1)
        log_p = _log_observed(p.component_distribution, p._pad(value))
        return (log_w + log_p).logsumexp(-1)

    is_seen = ~value.isnan()
    filled = torch.where(is_seen, value, stand_in(p, value))
    log_p = torch.where(is_seen, log_cells(p, filled), 0.0)
    if not p.event_shape:
        return log_p

    return log_p.sum(tuple(range(-len(p.event_shape), 0)))


def stand_in(p: td.Distribution, value: Tensor) -> Tensor:
    """Values in place of those that are NaN, at which log p and its gradient are finite.

    Example:
        >>> stand_in(dist.Gamma(torch.ones(2), 1.0), torch.full((2,), torch.nan))
        tensor([1., 1.])
    """
    if isinstance(p, Product):
        columns = p.split(value)
        return torch.cat([stand_in(part, columns[name]) for name, part in p.parts.items()], -1)

    zeros = torch.zeros_like(value)
    support = elementwise(p.support)
    if support.is_discrete and not support.event_dim:
        return zeros
    try:
        return transform_to(support)(zeros)
    except NotImplementedError:
        # one-hot vectors, directions
        zeros[..., 0] = 1.0
        return zeros


def _is_mixture(p: td.Distribution) -> bool:
    """Whether the cells of p depend on each other through its component, and on nothing else."""
    return isinstance(p, td.MixtureSameFamily) and bool(p.event_shape)


def _check_independent(p: td.Distribution) -> None:
    while isinstance(p, td.Independent):
        p = p.base_dist

    if isinstance(p, Product):
        for part in p.parts.values():
            _check_independent(part)
    elif isinstance(p, td.MixtureSameFamily):
        _check_independent(p.component_distribution)
    elif p.event_shape:
        raise TypeError(
            f"missing: the cells of a {type(p).__name__} are not independent, so it has no density "
            "for some of them only. Use a family whose cells are independent given z (pv.Normal, "
            "pv.Columns, ...), or fill x in."
        )
