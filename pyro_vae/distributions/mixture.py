"""Mixtures of one family."""

import pyro.distributions as dist
from torch.distributions import constraints


class Mixture(dist.MixtureSameFamily):
    """`MixtureSameFamily`, whose support is that of its components.

    torch wraps the components' support in a constraint that has no bijection to the reals.
    """

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return self.component_distribution.support
