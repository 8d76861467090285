"""A distribution whose parameters are free numbers, a set of them for each datum."""

import inspect
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints, transform_to

from pyro_vae.supports import find_support

ALTERNATIVES = (("scale_tril", "covariance_matrix", "precision_matrix"), ("logits", "probs"))


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
        keep = is_better if self.datum is None else is_better[self.datum]
        extra = (1,) * (new.dim() - keep.dim())
        return torch.where(keep.reshape(keep.shape + extra), new, old)


class FreeParameter:
    """A parameter of a distribution as free numbers.

    It is origin + unit · bijection(raw), where the bijection maps the reals to the values that the
    parameter can take.

    Arguments:
        start: Its first value, `[n, ...]`.
        origin: What it is counted from: the start for a location, 0 for anything else.
        unit: What it is counted in.
        constraint: Which values it can take.
    """

    def __init__(
        self, start: Tensor, origin: Tensor, unit: Tensor, constraint: constraints.Constraint
    ):
        self.origin = origin
        self.unit = unit
        self.bijection = transform_to(constraint)
        raw = self.bijection.inv((start - origin) / unit)
        self.raw = raw.detach().clone().requires_grad_()

    def value(self) -> Tensor:
        """The parameter, differentiable in the free numbers."""
        return self.origin + self.bijection(self.raw) * self.unit


class Factor:
    """A distribution over data `[n]` whose parameters are free and start at those of another.

    Arguments:
        base: Where it starts, without `Independent`.
        reinterpreted: How many dimensions `to_event` declared.
        unit: The standard deviation of the event, `[n, *event]`, in which locations are counted.
        start: Other first values, by parameter.
    """

    def __init__(
        self,
        base: Distribution,
        reinterpreted: int,
        unit: Tensor,
        start: dict[str, Tensor] | None = None,
    ):
        self.cls = type(base)
        self.reinterpreted = reinterpreted
        self.parameters: dict[str, FreeParameter] = {}
        values = {**read_parameters(base), **(start or {})}
        for key in list_parameters(base):
            value = values[key].detach().clone()
            origin = value if key == "loc" else torch.zeros_like(value)
            constraint = base.arg_constraints[key]
            self.parameters[key] = FreeParameter(value, origin, _find_unit(key, unit), constraint)
        self.free = [Free(parameter.raw) for parameter in self.parameters.values()]

    def __call__(self) -> Distribution:
        """The distribution with the parameters as they are now."""
        values = {key: parameter.value() for key, parameter in self.parameters.items()}
        return self.cls(**values).to_event(self.reinterpreted)

    def draw(self, k: int) -> tuple[Tensor, Tensor]:
        """Draws, `[k, n, *event]`, and their log-probabilities, `[k, n]`."""
        q = self()
        value = q.rsample((k,))
        return value, q.log_prob(value)


def _find_unit(key: str, spread: Tensor) -> Tensor:
    """What a parameter is counted in, given the standard deviation of the event."""
    if key == "loc":
        return spread
    if key in ("scale_tril", "cov_factor"):
        return spread.unsqueeze(-1)
    return spread.new_ones(())


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
