"""Sets of values: compared by structure, and put into words for people."""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class CountOfTotal(type(constraints.nonnegative_integer)):  # type: ignore[misc]
    """A whole number from 0 to the total of its event. It is not the set of a count by itself."""


class OrMissing(constraints.Constraint):
    """The values of a support, and NaN."""

    def __init__(self, base: constraints.Constraint):
        self.base_constraint = base
        self.event_dim = base.event_dim
        self.is_discrete = base.is_discrete
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return value.isnan() | self.base_constraint.check(value)


def find_support(fn: Distribution) -> constraints.Constraint | None:
    """The support of a distribution, or None where its class does not say it.

    Example:
        >>> find_support(torch.distributions.Normal(0.0, 1.0))
        Real()
    """
    try:
        return fn.support
    except (NotImplementedError, AttributeError):
        return None


def elementwise(support: constraints.Constraint) -> constraints.Constraint:
    """What a support says of each number by itself.

    Example:
        >>> elementwise(constraints.real_vector)
        Real()
    """
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def is_real(support: constraints.Constraint) -> bool:
    """Whether every number of an event may be any real number.

    Example:
        >>> is_real(constraints.real_vector), is_real(constraints.simplex)
        (True, False)
    """
    return isinstance(elementwise(support), type(constraints.real))


def is_same_support(a: constraints.Constraint, b: constraints.Constraint) -> bool:
    """Whether two supports are the same set of events.

    They are compared by their structure. Of a bound that is a tensor the largest value counts. An
    open end is the same as a closed one, because a single value has no mass.

    Example:
        >>> is_same_support(constraints.positive, constraints.nonnegative)
        True
        >>> is_same_support(constraints.real, constraints.real_vector)
        False
    """
    return a.event_dim == b.event_dim and _structure(a) == _structure(b)


def describe(support: constraints.Constraint | None) -> str:
    """A support in words, for people. Nothing is decided by it. None is a support not known.

    Example:
        >>> describe(constraints.unit_interval)
        'in [0, 1]'
    """
    if support is None:
        return "unknown"
    support = elementwise(support)
    if isinstance(support, OrMissing):
        return f"{describe(support.base_constraint)} or missing"
    if isinstance(support, constraints.cat):
        return "columns " + ", ".join(dict.fromkeys(map(describe, support.cseq)))
    if support is constraints.boolean:
        return "0 or 1"
    if isinstance(support, constraints.integer_interval):
        return "integer from {:g} to {:g}".format(*_bounds(support))
    if isinstance(support, CountOfTotal):
        return "a count out of a total"
    if support is constraints.nonnegative_integer:
        return "a count"
    if isinstance(support, constraints.interval):
        return "in [{:g}, {:g}]".format(*_bounds(support))
    if isinstance(support, constraints.greater_than | constraints.greater_than_eq):
        return f"above {_largest(support.lower_bound):g}"
    return str(support).removesuffix("()").lower()


def _structure(support: constraints.Constraint) -> tuple:
    """What a support is made of, as a tuple that `==` compares."""
    support = elementwise(support)
    if isinstance(support, constraints.cat):
        return constraints.cat, *_columns(support)
    if isinstance(support, constraints.greater_than | constraints.greater_than_eq):
        return constraints.greater_than, _largest(support.lower_bound)

    parts = [(name, _comparable(part)) for name, part in vars(support).items()]

    return type(support), *sorted(parts)


def _columns(support: constraints.cat) -> list[tuple]:
    """The structure of each column."""
    columns = []
    for part, count in zip(support.cseq, support.lengths, strict=True):
        columns += [_structure(part)] * count
    return columns


def _comparable(part: object) -> object:
    if isinstance(part, constraints.Constraint):
        return part.event_dim, _structure(part)
    if isinstance(part, Tensor | int | float):
        return _largest(part)
    return part


def _bounds(support: constraints.Constraint) -> tuple[float, float]:
    return _largest(support.lower_bound), _largest(support.upper_bound)


def _largest(bound: float | Tensor) -> float:
    return float(torch.as_tensor(bound).max())
