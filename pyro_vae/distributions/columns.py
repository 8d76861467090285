"""Products of distributions, side by side in one vector."""

from collections.abc import Mapping
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
        parts: Distributions by name, of event_shape `[columns of it]` and of equal batch_shape.

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
        shapes = [p.batch_shape for p in self.parts.values()]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(
                f"parts: expected distributions of equal batch_shape, got {list(map(tuple, shapes))}"
            )
        super().__init__(shapes[0], Size([sum(self.sizes)]), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:
        return all(p.has_rsample for p in self.parts.values())

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        cells = [elementwise(p.support) for p in self.parts.values()]
        return constraints.independent(constraints.cat(cells, -1, self.sizes), 1)

    def expand(self, batch_shape: Size, _instance=None) -> "Product":
        return Product(
            {name: p.expand(batch_shape) for name, p in self.parts.items()}, validate_args=False
        )

    def split(self, value: Tensor) -> dict[str, Tensor]:
        """The columns of each part, by its name."""
        return dict(zip(self.parts, value.split(self.sizes, -1), strict=True))

    def log_prob(self, value: Tensor) -> Tensor:
        return sum(self.parts[name].log_prob(x) for name, x in self.split(value).items())

    def sample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return self._joined(p.sample(sample_shape) for p in self.parts.values())

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return self._joined(p.rsample(sample_shape) for p in self.parts.values())

    @property
    def mean(self) -> Tensor:
        return self._joined(p.mean for p in self.parts.values())

    @staticmethod
    def _joined(values) -> Tensor:
        values = list(values)
        floating = [v.dtype for v in values if v.is_floating_point()]
        return torch.cat(
            [v.to(floating[0] if floating else torch.get_default_dtype()) for v in values], -1
        )
