"""A number with its Monte Carlo error."""

from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

# a float, or a Tensor: which one is known to whoever made it, and not to a type checker
Numbers: TypeAlias = Any


@dataclass(frozen=True)
class Estimate:
    """A number, or one per datum or dimension, and its Monte Carlo standard error.

    The results of diagnostics are estimates, with more fields where there is more to say.

    Attributes:
        value: The number.
        stderr: Its standard error, 0 where the number is exact.
    """

    value: Numbers
    stderr: Numbers


def standard_error(draws: Tensor) -> Tensor:
    """The standard error of the mean over the first dimension. It is infinite for a single draw.

    Example:
        >>> standard_error(torch.tensor([[1.0], [3.0]]))
        tensor([1.])
    """
    k = draws.shape[0]
    if k == 1:
        return torch.full_like(draws[0], torch.inf)

    return draws.std(0) / k**0.5


def average_draws(draws: Tensor) -> Estimate:
    """The mean over draws, `[k, ...]`, with its standard error.

    Example:
        >>> average_draws(torch.tensor([[1.0], [3.0]]))
        Estimate(value=tensor([2.]), stderr=tensor([1.]))
    """
    return Estimate(value=draws.mean(0), stderr=standard_error(draws))


def average_weighted(weights: Tensor, values: Tensor) -> Estimate:
    """The weighted mean over draws, with its standard error by the delta method.

    Arguments:
        weights: Weights that sum to 1 over the first dimension, `[k, ...]`.
        values: What is averaged, of as many dimensions.

    Example:
        >>> average_weighted(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 3.0]))
        Estimate(value=tensor(2.), stderr=tensor(0.7071))
    """
    mean = (weights * values).sum(0)

    return Estimate(mean, (weights * (values - mean)).square().sum(0).sqrt())


def average_data(each: Estimate) -> Estimate:
    """The mean over data of independent estimates, `[n, ...]`, with its Monte Carlo error.

    The data are fixed, only the draws are random. How the data differ is no part of the error.

    Returns:
        Floats for estimates `[n]`, tensors for `[n, ...]`.

    Example:
        >>> average_data(Estimate(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 4.0])))
        Estimate(value=2.0, stderr=2.5)
    """
    value = each.value.mean(0)
    error = each.stderr.square().sum(0).sqrt() / len(each.stderr)
    if value.dim() == 0:
        return Estimate(value=value.item(), stderr=error.item())

    return Estimate(value=value, stderr=error)


def combine_errors(*errors: Tensor) -> Tensor:
    """The standard error of a sum or difference of independent estimates.

    It is the root of the sum of the squared errors.

    Example:
        >>> combine_errors(torch.tensor([3.0]), torch.tensor([4.0]))
        tensor([5.])
    """
    total = torch.zeros_like(errors[0])
    for error in errors:
        total = total + error.square()
    return total.sqrt()


def subtract(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two independent estimates.

    Example:
        >>> first = Estimate(torch.tensor([7.0]), torch.tensor([3.0]))
        >>> subtract(first, Estimate(torch.tensor([5.0]), torch.tensor([4.0])))
        Estimate(value=tensor([2.]), stderr=tensor([5.]))
    """
    return Estimate(
        value=first.value - second.value,
        stderr=combine_errors(first.stderr, second.stderr),
    )


def join_blocks(parts: Sequence[Result], *, dim: int = -1) -> Result:
    """The results of blocks of data as one result.

    Tensors are joined along one dimension, which is over the data. A dataclass is joined field by
    field, and a dictionary entry by entry. None stays None.

    Raises:
        TypeError: if a block is none of these.

    Example:
        >>> part = Estimate(torch.tensor([1.0]), torch.tensor([0.0]))
        >>> join_blocks([part, part])
        Estimate(value=tensor([1., 1.]), stderr=tensor([0., 0.]))
    """
    return _join(parts, dim)


def _join(parts: Sequence[Any], dim: int) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts), dim=dim)
    if first is None:
        return None
    if isinstance(first, dict):
        return {name: _join([part[name] for part in parts], dim) for name in first}
    if not is_dataclass(first):
        raise TypeError(f"expected tensors, and dataclasses of them, got {type(first).__name__}")

    columns = {name: [vars(part)[name] for part in parts] for name in vars(first)}
    joined = {name: _join(column, dim) for name, column in columns.items()}
    kind: Any = type(first)
    return kind(**joined)


def to_plain(value: Any) -> Any:
    """A result for a JSON file: dataclasses as dictionaries, tensors as lists.

    Example:
        >>> to_plain(Estimate(torch.tensor([1.0]), 0.0))
        {'value': [1.0], 'stderr': 0.0}
    """
    if is_dataclass(value):
        return to_plain(vars(value))
    if isinstance(value, dict):
        return {name: to_plain(field) for name, field in value.items()}
    if isinstance(value, Tensor):
        return value.tolist()

    return value


def write_estimate(estimate: Estimate) -> str:
    """A number with its error, to four decimals.

    Example:
        >>> write_estimate(Estimate(1.0, 0.25))
        '    1.0000 ± 0.2500'
    """
    return f"{estimate.value:10.4f} ± {estimate.stderr:.4f}"
