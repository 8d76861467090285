"""Numbers of a network, mapped into a constraint: values and gradients are finite for any float."""

import torch
from torch import Tensor
from torch.distributions import constraints, transform_to
from torch.nn.functional import softplus

from pyro_vae.supports import elementwise

REAL_MAX = 1e7
POSITIVE_MIN, POSITIVE_MAX = 1e-6, 1e6
GROWTH_MAX = 1e3
TAME_NORM = 2.9


def constrain(constraint: constraints.Constraint, numbers: Tensor) -> Tensor:
    """Numbers mapped into a constraint.

    Example:
        >>> constrain(constraints.greater_than(1.0), torch.tensor([-1e9, 0.0]))
        tensor([1.0000, 1.6931])
    """
    if constraint is constraints.lower_cholesky:
        return lower_cholesky(numbers)
    base = elementwise(constraint)
    if isinstance(base, constraints.greater_than | constraints.greater_than_eq):
        return base.lower_bound + positive(numbers)

    bounded = numbers.clamp(-REAL_MAX, REAL_MAX)
    if base is constraints.real:
        return bounded

    return transform_to(constraint)(bounded)


def positive(numbers: Tensor) -> Tensor:
    """A softplus, held within bounds that a float's arithmetic survives."""
    return softplus(numbers).clamp(POSITIVE_MIN, POSITIVE_MAX)


def lower_cholesky(numbers: Tensor) -> Tensor:
    """A lower triangle with a positive diagonal and an inverse that does not overflow.

    It is diag(s) (I + N), with N strictly lower. Any such factor is reached, as long as the inverse
    of I + N stays below `GROWTH_MAX`. N is the raw triangle over d. Without that division the
    jitter of an optimiser would add up over a row, and drown what is learned.

    Beyond `GROWTH_MAX`, N is scaled down to the norm `TAME_NORM`. At that norm the inverse is
    bounded for any N of any size: no entry of N^k is above 2.9^k / √(k-1)!, because it is a sum
    over falling chains (Smithies' bound), and these bounds add up to less than 1e3.
    """
    size = numbers.shape[-1]
    eye = torch.eye(size, dtype=numbers.dtype, device=numbers.device)
    scale = positive(numbers.diagonal(dim1=-2, dim2=-1))
    n = numbers.clamp(-REAL_MAX, REAL_MAX).tril(-1) / size
    is_tame = _largest_of_inverse(eye + n, eye) <= GROWTH_MAX

    return scale.unsqueeze(-1) * (eye + torch.where(is_tame, n, shrink(n, TAME_NORM, dims=2)))


@torch.no_grad()
def _largest_of_inverse(triangle: Tensor, eye: Tensor) -> Tensor:
    inverse = torch.linalg.solve_triangular(
        triangle, eye.expand_as(triangle), upper=False, unitriangular=True
    )

    return inverse.abs().amax((-2, -1), keepdim=True)


def shrink(a: Tensor, norm: float, *, dims: int) -> Tensor:
    """A tensor, scaled down over its last dimensions where its norm is above the one given."""
    last = tuple(range(-dims, 0))
    total = a.square().sum(last, keepdim=True).clamp(min=1e-30).sqrt()

    return a * (norm / total).clamp(max=1.0)
