"""Independent distributions side by side in one vector."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from pyro_vae.supports import elementwise


class Product(TorchDistribution):
    r"""Independent distributions over parts of one vector.

    .. math:: \log p(x) = \sum_c \log p_c(x_c)

    Arguments:
        parts: Distributions by name, each of event_shape `[its columns]`, all of one batch_shape.

    Raises:
        ValueError: if their batch_shapes differ.

    Example:
        >>> import pyro.distributions as dist
        >>> p = Product({
        ...     "age": dist.Normal(torch.zeros(1), 1.0).to_event(1),
        ...     "stage": dist.Categorical(torch.ones(1, 4)).to_event(1),
        ... })
        >>> round(p.log_prob(torch.tensor([0.0, 3.0])).item(), 4)
        -2.3052
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, parts: Mapping[str, TorchDistribution], validate_args: bool | None = None):
        self.parts = dict(parts)
        self.sizes = [p.event_shape[0] for p in self.parts.values()]

        first, *others = [p.batch_shape for p in self.parts.values()]
        if any(shape != first for shape in others):
            shapes = [tuple(shape) for shape in (first, *others)]
            raise ValueError(f"parts: expected distributions of equal batch_shape, got {shapes}")

        super().__init__(first, Size([sum(self.sizes)]), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:
        return all(p.has_rsample for p in self.parts.values())

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        cells = [elementwise(p.support) for p in self.parts.values()]

        return constraints.independent(constraints.cat(cells, -1, self.sizes), 1)

    def expand(self, batch_shape: Size, _instance=None) -> "Product":
        parts = {name: p.expand(batch_shape) for name, p in self.parts.items()}

        return Product(parts, validate_args=False)

    def split(self, value: Tensor) -> dict[str, Tensor]:
        """The columns of each part, by its name."""
        return dict(zip(self.parts, value.split(self.sizes, -1), strict=True))

    def log_prob(self, value: Tensor) -> Tensor:
        columns = self.split(value)

        return sum(p.log_prob(columns[name]) for name, p in self.parts.items())

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return _join(p.sample(sample_shape) for p in self.parts.values())

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return _join(p.rsample(sample_shape) for p in self.parts.values())

    @property
    def mean(self) -> Tensor:
        return _join(p.mean for p in self.parts.values())


def _join(columns: Iterable[Tensor]) -> Tensor:
    """Columns side by side, in the floating type that one of them has."""
    columns = list(columns)
    floating = [column.dtype for column in columns if column.is_floating_point()]
    dtype = next(iter(floating), torch.get_default_dtype())

    return torch.cat([column.to(dtype) for column in columns], -1)
