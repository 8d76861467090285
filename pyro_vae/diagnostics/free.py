"""A distribution whose parameters are free numbers, a set of them for each datum."""

import inspect
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints, transform_to

from pyro_vae.diagnostics.normal_fit import Normals
from pyro_vae.supports import find_support, is_real

ALTERNATIVES = (("scale_tril", "covariance_matrix", "precision_matrix"), ("logits", "probs"))
SCALES = {"scale", "scale_tril", "cov_diag"}  # parameters that say how wide a distribution is


class Free(NamedTuple):
    """A tensor of free numbers.

    Attributes:
        tensor: The numbers, which follow gradients.
        datum: The datum that they belong to. If it is None, the first dimension is over the data.
    """

    tensor: Tensor
    datum: int | None = None

    def select(self, is_better: Tensor, old: Tensor, new: Tensor) -> Tensor:
        """New values for the data where `is_better`, `[n]`, holds, and old ones elsewhere."""
        return torch.where(self.spread(is_better), new, old)

    def spread(self, values: Tensor) -> Tensor:
        """A value for each datum, `[n]`, as one for each number."""
        if self.datum is not None:
            return values[self.datum]
        return values.reshape(values.shape + (1,) * (self.tensor.dim() - 1))


class FreeParameter:
    """A parameter of a distribution as free numbers.

    It is origin + unit · bijection(raw), where the bijection maps the reals to the values that the
    parameter can take.

    Arguments:
        start: Its first value, `[n, ...]`.
        constraint: Which values it can take.
        origin: What it is counted from, or None for 0.
        unit: What it is counted in: a number for each of its own, or matrices that are multiplied
            from the left, whose columns are then the units.
        is_matrix: Whether it is matrices.
    """

    def __init__(
        self,
        start: Tensor,
        constraint: constraints.Constraint,
        *,
        origin: Tensor | None = None,
        unit: Tensor,
        is_matrix: bool = False,
    ):
        self.origin = torch.zeros_like(start) if origin is None else origin
        self.unit = unit
        self.is_matrix = is_matrix
        self.bijection = transform_to(constraint)
        raw = self.bijection.inv(self._shrink(start - self.origin))
        self.raw = raw.detach().clone().requires_grad_()

    def value(self) -> Tensor:
        """The parameter, differentiable in the free numbers."""
        return self.origin + self._stretch(self.bijection(self.raw))

    def _stretch(self, value: Tensor) -> Tensor:
        if not self.is_matrix:
            return value * self.unit
        return (self.unit @ _as_columns(value, self.unit)).reshape(value.shape)

    def _shrink(self, value: Tensor) -> Tensor:
        if not self.is_matrix:
            return value / self.unit
        columns = _as_columns(value, self.unit)
        return torch.linalg.solve_triangular(self.unit, columns, upper=False).reshape(value.shape)


def _as_columns(value: Tensor, unit: Tensor) -> Tensor:
    """A value `[n, ...]` as the columns that matrices `[..., d, d]` multiply."""
    return value if value.shape == unit.shape else value.reshape(*unit.shape[:-1], 1)


class Factor:
    """A distribution over data `[n]` whose parameters are free and start at those of another.

    Arguments:
        base: Where it starts, without `Independent`.
        reinterpreted: How many dimensions `to_event` declared.
        unit: The standard deviation of the event, `[n, *event]`, in which locations are counted.
        start: Other first values, by parameter.
        tril: Matrices `[n, d, d]` in whose columns locations are counted instead.
    """

    def __init__(
        self,
        base: Distribution,
        reinterpreted: int,
        unit: Tensor,
        start: dict[str, Tensor] | None = None,
        tril: Tensor | None = None,
    ):
        self.cls = type(base)
        self.support = base.support
        self.reinterpreted = reinterpreted
        self.unit = unit
        self.tril = tril
        self.constraints = {key: base.arg_constraints[key] for key in list_parameters(base)}
        values = {**read_parameters(base), **(start or {})}
        self.parameters = {
            key: self._free(key, values[key].detach().clone()) for key in self.constraints
        }
        self.free = [Free(parameter.raw) for parameter in self.parameters.values()]
        self.is_symmetric = _is_symmetric(base, unit)

    def _free(self, key: str, value: Tensor) -> FreeParameter:
        constraint = self.constraints[key]
        if key == "loc" and is_real(constraint):
            unit, is_matrix = (self.unit, False) if self.tril is None else (self.tril, True)
            return FreeParameter(value, constraint, origin=value, unit=unit, is_matrix=is_matrix)
        if key == "scale_tril":
            return FreeParameter(value, constraint, unit=value, is_matrix=True)

        unit = self.unit.unsqueeze(-1) if key == "cov_factor" else value.new_ones(())
        return FreeParameter(value, constraint, unit=unit)

    def values(self) -> dict[str, Tensor]:
        """The parameters as they are now."""
        return {key: parameter.value() for key, parameter in self.parameters.items()}

    def __call__(self) -> Distribution:
        """The distribution with the parameters as they are now."""
        return self.cls(**self.values()).to_event(self.reinterpreted)

    def draw(self, k: int, *, mirrored: bool = False) -> tuple[Tensor, Tensor]:
        """Draws, `[k, n, *event]`, and their log-probabilities, `[k, n]`.

        The log-probabilities are differentiable in the draws alone. What is left out has a mean of
        0, and without it the gradient of the ELBO has no noise where q is the posterior (Roeder, Wu
        & Duvenaud, 2017).

        Arguments:
            k: How many.
            mirrored: Mirror the first half of them at the location, where the distribution is
                symmetric. A mean over them has less noise. They are not independent.
        """
        values = self.values()
        q = self.cls(**values).to_event(self.reinterpreted)
        if mirrored and self.is_symmetric:
            half = q.rsample((math.ceil(k / 2),))
            value = torch.cat([half, 2 * values["loc"] - half])[:k]
        else:
            value = q.rsample((k,))
        fixed = {key: parameter.detach() for key, parameter in values.items()}
        return value, self.cls(**fixed).to_event(self.reinterpreted).log_prob(value)

    def is_normal_like(self) -> bool:
        """Whether it has a location and a spread, over one vector of real numbers."""
        full = self.parameters.get("scale_tril")
        return (
            is_real(self.support)
            and "loc" in self.parameters
            and bool(SCALES & set(self.parameters))
            and (full is None or full.raw.dim() == 3)
        )

    def start_at(self, normals: Normals, where: Tensor) -> "Factor":
        """A factor with the location and spread of normals, whose locations are counted in theirs.

        Arguments:
            normals: Normals over the flat event.
            where: The data for which it is so, `[n]`. The others keep their parameters.
        """
        precision = torch.cholesky_inverse(normals.tril).diagonal(dim1=-2, dim2=-1)
        scale = precision.rsqrt().reshape(self.unit.shape).to(self.unit)
        tril = normals.tril.to(self.unit)
        values = {key: value.detach() for key, value in self.values().items()}
        new = {
            "loc": normals.mean.reshape(self.unit.shape).to(self.unit),
            "scale": scale,
            "scale_tril": tril,
            "cov_diag": scale.square(),
        }
        if "cov_factor" in values:
            new["cov_factor"] = values["cov_factor"] * (scale / self.unit).unsqueeze(-1)
        for key in values.keys() & new.keys():
            values[key] = select_rows(where, new[key], values[key])

        return Factor(self.cls(**values), self.reinterpreted, scale, tril=tril)


def _is_symmetric(base: Distribution, unit: Tensor) -> bool:
    """Whether a distribution over real numbers has the same density on both sides of `loc`."""
    if not is_real(base.support) or "loc" not in list_parameters(base):
        return False
    return torch.allclose(base.log_prob(base.loc + unit), base.log_prob(base.loc - unit), rtol=1e-3)


def select_rows(where: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """New values `[n, ...]` for the data where it holds, `[n]`, and old ones elsewhere."""
    return torch.where(where.reshape(where.shape + (1,) * (new.dim() - 1)), new, old)


def unwrap(fn: Distribution) -> tuple[Distribution, int]:
    """A distribution without `Independent`, and how many dimensions those declared.

    Example:
        >>> import pyro.distributions as dist
        >>> base, reinterpreted = unwrap(dist.Normal(torch.zeros(5, 2), 1.0).to_event(1))
        >>> base.batch_shape, reinterpreted
        (torch.Size([5, 2]), 1)
    """
    reinterpreted = 0
    while isinstance(fn, Independent):
        reinterpreted += fn.reinterpreted_batch_ndims
        fn = fn.base_dist
    return fn, reinterpreted


def list_parameters(base: Distribution) -> list[str]:
    """The arguments from which a distribution is made again.

    Of several ways to say the same, logits or probs for one, it is the first.

    Example:
        >>> import pyro.distributions as dist
        >>> list_parameters(dist.Normal(0.0, 1.0))
        ['loc', 'scale']
    """
    arguments = inspect.signature(type(base).__init__).parameters
    names = [key for key in arguments if key in base.arg_constraints]
    for first, *others in ALTERNATIVES:
        if first in names:
            names = [key for key in names if key not in others]
    return names


def read_parameters(base: Distribution) -> dict[str, Tensor]:
    """The values of the parameters of a distribution, by name."""
    return {key: getattr(base, key) for key in list_parameters(base)}


def explain_refusal(base: Distribution) -> str | None:
    """Why the parameters of a distribution cannot be free numbers, or None if they can."""
    support = find_support(base)
    if support is None:
        return "does not say its support"
    if support.is_discrete:
        return "is discrete"
    if not base.has_rsample:
        return "has no reparametrised draws (rsample)"
    names = list_parameters(base)
    if not names or not _list_required(base) <= set(names):
        return "is not made of parameters alone"
    if isinstance(type(base).arg_constraints, property):
        return "has parameters whose limits depend on each other"

    reasons = [_explain_parameter(base, key) for key in names]
    return next((reason for reason in reasons if reason is not None), None)


def _list_required(base: Distribution) -> set[str]:
    """The arguments that a distribution is not made without."""
    arguments = inspect.signature(type(base).__init__).parameters
    required = {key for key, argument in arguments.items() if _is_required(argument)}
    return required - {"self", "validate_args"}


def _is_required(argument: inspect.Parameter) -> bool:
    return argument.default is argument.empty and argument.kind is argument.POSITIONAL_OR_KEYWORD


def _explain_parameter(base: Distribution, key: str) -> str | None:
    try:
        transform_to(base.arg_constraints[key])
    except NotImplementedError:
        return f"has a parameter {key} without a map from the reals"
    if not isinstance(getattr(base, key, None), Tensor):
        return f"has a parameter {key} that is no tensor"
    return None
