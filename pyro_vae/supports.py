"""Supports of distributions: in words, and compared by structure."""

import torch
from torch import Tensor
from torch.distributions import constraints


class CountOfTotal(type(constraints.nonnegative_integer)):
    """A whole number from 0 to the total of its event: not the set of a count by itself."""


class OrMissing(constraints.Constraint):
    """The values of a support, and NaN."""

    def __init__(self, base: constraints.Constraint):
        self.base_constraint = base
        self.event_dim, self.is_discrete = base.event_dim, base.is_discrete
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return value.isnan() | self.base_constraint.check(value)


def elementwise(support: constraints.Constraint) -> constraints.Constraint:
    """What a support says of each number by itself."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def describe(constraint: constraints.Constraint) -> str:
    """A support in words."""
    constraint = elementwise(constraint)
    if isinstance(constraint, OrMissing):
        return describe(constraint.base_constraint) + " or missing"
    if isinstance(constraint, constraints.cat):
        return "columns " + ", ".join(dict.fromkeys(describe(c) for c in constraint.cseq))
    if constraint is constraints.boolean:
        return "0 or 1"
    if isinstance(constraint, constraints.integer_interval):
        return f"integer from {_largest(constraint.lower_bound):g} to {_largest(constraint.upper_bound):g}"
    if isinstance(constraint, CountOfTotal):
        return "a count out of a total"
    if constraint is constraints.nonnegative_integer:
        return "a count"
    if isinstance(constraint, constraints.interval):
        return f"in [{_largest(constraint.lower_bound):g}, {_largest(constraint.upper_bound):g}]"
    if isinstance(constraint, constraints.greater_than | constraints.greater_than_eq):
        return f"above {_largest(constraint.lower_bound):g}"
    return str(constraint).removesuffix("()").lower()


def _largest(bound: float | Tensor) -> float:
    return float(torch.as_tensor(bound).max())


def same_support(a: constraints.Constraint, b: constraints.Constraint) -> bool:
    """Whether two supports are the same set of events, compared by structure."""
    return (describe(a), a.event_dim) == (describe(b), b.event_dim)
