"""p(a | b), the one abstraction, and how a family of them is made from a class of distributions."""

import inspect
import itertools
import math
import sys
import textwrap
from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from pyro_vae.networks import Builder, Shape, build, leading_shape, mlp

REAL_MAX = 1e7
POSITIVE_MIN, POSITIVE_MAX = 1e-6, 1e6
GROWTH_MAX = 1e3

ShapeLike = int | Sequence[int]
GivenLike = ShapeLike | list


class Conditional(nn.Module):
    """p(a | b): a module whose call, on the given variables, returns a Pyro distribution over a.

    Arguments:
        event_shape: The shape of a; an int is a vector.
        given: The shape of b: an int is a vector, a tuple one shape, a *list* of shapes several
            variables, which
            the call then takes in that order. None: nothing is given, the parameters are free.

    Attributes:
        event_shape: The shape of a, a tuple.
        given_shapes: The shapes of what is given, a list of tuples.
    """

    takes_missing = False

    def __init__(self, event_shape: ShapeLike, given: GivenLike | None = None):
        super().__init__()

        self.event_shape = _shape(event_shape, "event_shape")
        if given is None:
            self.given_shapes: list[Shape] = []
        elif isinstance(given, list):
            self.given_shapes = [_shape(shape, "given") for shape in given]
        else:
            self.given_shapes = [_shape(given, "given")]

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        raise NotImplementedError

    def __repr__(self) -> str:
        bar = " | " + ", ".join(map(str, self.given_shapes)) if self.given_shapes else ""
        options = "".join(f", {key}={value}" for key, value in self.options().items())
        return f"{type(self).__name__}({self.event_shape}{bar}{options})"

    @property
    def support(self) -> constraints.Constraint | None:
        """The set in which a lies, or None where only a run tells."""
        return None

    def options(self) -> dict[str, object]:
        """What `repr` shows beside the shapes."""
        return {}

    def _checked(
        self, p: dist.TorchDistribution, given: Sequence[Tensor]
    ) -> dist.TorchDistribution:
        lead = leading_shape(given, self.given_shapes)
        if tuple(p.batch_shape) != lead or tuple(p.event_shape) != self.event_shape:
            raise ValueError(
                f"{self}: expected a distribution of batch_shape {lead} and event_shape {self.event_shape}, got "
                f"{tuple(p.batch_shape)} and {tuple(p.event_shape)}. A parameter whose shape is not the event's "
                "is named with its shape: family(cls, logits=lambda event, classes: (*event, classes))."
            )
        return p


class Family(Conditional):
    """A conditional of one family of distributions, its parameters computed by a network; see `family`."""

    distribution: Callable[..., dist.TorchDistribution]
    specification: dict[str, Callable[..., Shape] | None]

    def __init__(
        self,
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        net: Builder | nn.Module = mlp,
        **options: float | Tensor | str,
    ):
        super().__init__(event_shape, given)

        structural = _structural(self.specification)
        unknown = options.keys() - structural.keys() - self.specification.keys()
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no parameter or option {', '.join(sorted(unknown))}; parameters that "
                f"can be fixed: {', '.join(self.specification)}; options: {', '.join(structural) or 'none'}"
            )
        for key in self.specification.keys() - options.keys():
            if self.distribution.arg_constraints[key].is_discrete:
                raise TypeError(
                    f"{type(self).__name__} needs {key}=, {self.distribution.arg_constraints[key]}"
                )
        self.learned = {
            key: how
            for key, how in options.items()
            if isinstance(how, str) and key in self.specification
        }
        for key, how in self.learned.items():
            constraint = self.distribution.arg_constraints[key]
            if (
                how not in ("shared", "free")
                or self.specification[key] is not None
                or constraint.is_discrete
            ):
                raise ValueError(
                    f"{key}: expected a number, a tensor, or for a parameter of the event's shape 'shared' (one "
                    f"learned number) or 'free' (one for each entry), got {how!r}"
                )
            self.register_parameter(
                f"{key}_raw", nn.Parameter(torch.zeros(() if how == "shared" else self.event_shape))
            )
        options = {key: value for key, value in options.items() if key not in self.learned}
        self.structure = {key: options.get(key, default) for key, default in structural.items()}
        for key, value in self.structure.items():
            if not isinstance(value, int) or value < 1:
                raise TypeError(
                    f"{type(self).__name__} needs {key}=, a positive whole number, got {value!r}"
                )

        self.fixed, self.shapes = {}, {}
        for key, shape in self.specification.items():
            chosen = {name: self.structure[name] for name in _structural({key: shape})}
            try:
                self.shapes[key] = (
                    self.event_shape if shape is None else tuple(shape(self.event_shape, **chosen))
                )
            except IndexError:
                raise ValueError(
                    f"{type(self).__name__}: event_shape () has too few dimensions, an event of it is a vector"
                ) from None
            if key in options:
                self.fixed[key] = options[key]
                self.register_buffer(f"fixed_{key}", self._fix(key, options[key]))

        numbers = sum(
            math.prod(shape)
            for key, shape in self.shapes.items()
            if key not in self.fixed | self.learned
        )
        if self.given_shapes and not numbers:
            raise ValueError(
                f"{type(self).__name__}: every parameter is fixed, so nothing depends on given={given}"
            )
        self.raw = nn.Parameter(torch.zeros(numbers)) if numbers and not self.given_shapes else None
        self.net = None
        if self.given_shapes:
            image = len(self.event_shape) == 3 and numbers % math.prod(self.event_shape[1:]) == 0
            out_shape = (numbers,)
            if image:
                out_shape = (numbers // math.prod(self.event_shape[1:]), *self.event_shape[1:])
            self.net = build(net, self.given_shapes, out_shape)

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        return self._checked(self.at(self.raw_from(*given)), given)

    def raw_from(self, *given: Tensor) -> Tensor:
        """The numbers `[..., numbers]` from which the parameters are made: the network's, or free ones."""
        if self.net is not None:
            return self.net(*given).flatten(-len(self.net.out_shape))
        return torch.empty(0) if self.raw is None else self.raw

    def at(self, raw: Tensor) -> dist.TorchDistribution:
        """The distribution at such numbers."""
        p = self.distribution(**self.parametrise(raw))

        return p.to_event(len(self.event_shape) - p.event_dim)

    @property
    def support(self) -> constraints.Constraint:
        p = self.example()
        return p.to_event(len(self.event_shape) - p.event_dim).support

    def example(self) -> dist.TorchDistribution:
        """The distribution where a network returns zeros, before `to_event`: its shapes and support are every one's."""
        numbers = sum(
            math.prod(shape)
            for key, shape in self.shapes.items()
            if key not in self.fixed | self.learned
        )
        like = next(itertools.chain(self.parameters(), self.buffers()), torch.zeros(()))
        with torch.no_grad():
            return self.distribution(**self.parametrise(torch.zeros(numbers, device=like.device)))

    def parametrise(self, raw: Tensor) -> dict[str, Tensor]:
        """The parameters, from the numbers `[..., numbers]` that the network returns."""
        lead = raw.shape[:-1]
        computed = [key for key in self.shapes if key not in self.fixed | self.learned]
        chunks = raw.split([math.prod(self.shapes[key]) for key in computed], dim=-1)
        values = {key: getattr(self, f"fixed_{key}") for key in self.fixed}
        for key, chunk in zip(computed, chunks, strict=True):
            shape, m = self.shapes[key], len(self.event_shape)
            if shape[:m] == self.event_shape and len(shape) > m:
                # numbers of one pixel lie as channels do, leading, so that a convolution's output
                # fits
                chunk = chunk.reshape(lead + shape[m:] + self.event_shape)
                chunk = chunk.movedim(
                    tuple(range(len(lead), len(lead) + len(shape) - m)),
                    tuple(range(m - len(shape), 0)),
                )
            else:
                chunk = chunk.reshape(lead + shape)
            values[key] = _constrain(self.distribution.arg_constraints[key], chunk)
        for key in self.learned:
            value = _constrain(self.distribution.arg_constraints[key], getattr(self, f"{key}_raw"))
            values[key] = value.expand(self.event_shape)
        return values

    def options(self) -> dict[str, object]:
        fixed = {k: v if isinstance(v, float | int) else "tensor" for k, v in self.fixed.items()}
        return {**self.structure, **fixed, **self.learned}

    def _fix(self, key: str, value: float | Tensor) -> Tensor:
        exact = isinstance(value, Tensor) and value.is_floating_point()
        value = value.detach() if exact else torch.as_tensor(value, dtype=torch.get_default_dtype())
        constraint = self.distribution.arg_constraints[key]
        try:
            value = value.expand(self.shapes[key]).clone()
        except RuntimeError:
            raise ValueError(
                f"{key}: expected a number or a tensor of shape {self.shapes[key]}, got shape {tuple(value.shape)}"
            ) from None
        if not value.isfinite().all() or not constraint.check(value).all():
            raise ValueError(
                f"{key}: expected finite values within {constraint}, got {_brief(value)}"
            )
        return value


def family(
    cls: Callable[..., dist.TorchDistribution],
    *parameters: str,
    name: str | None = None,
    doc: str = "",
    **shapes: Callable[..., Shape],
) -> type[Family]:
    """A conditional family from any torch or Pyro distribution, in one line.

    Arguments:
        cls: A class of `pyro.distributions`, or one that has `to_event` and `arg_constraints` as
            those do.
        parameters: The names of the parameters that have the shape of the event.
        name: The name of the class, by default that of `cls`.
        doc: What its docstring says after the first sentence: the formula, the source, when to use
            it.
        shapes: The parameters of another shape: a function of the event's shape, whose further
            arguments are options that the family then takes, `classes` in the example.

    Returns:
        A class `Family(event_shape, given=None, net=mlp, **fixed)`. `net` is a builder or a module
        (`networks`). A keyword that is a parameter of the family fixes it, as a buffer; or has it
        learned without being computed from b, "shared", one number for the whole event, or "free",
        one for each entry. Positive parameters pass through a softplus held within [1e-6, 1e6],
        real ones are held within ±1e7, and a `scale_tril` is kept well-conditioned, so that log p
        and its gradient stay finite whatever the network returns; any other constraint uses
        `torch.distributions.transform_to`.

    Raises:
        ValueError: if the class has no such parameter, or a fixed one lies outside its constraint.
        TypeError: if an option is missing or unknown, or `cls` is no such class.

    Example:
        >>> Logistic = family(dist.Logistic, "loc", "scale")
        >>> Logistic(3, given=20)
        Logistic((3,) | (20,))
        >>> Logistic((1, 28, 28), given=20, scale="shared")
        Logistic((1, 28, 28) | (20,), scale=shared)
        >>> Labels = family(dist.Categorical, logits=lambda event, classes: (*event, classes))
        >>> p = Labels((2, 3), given=[20, (4, 5)], classes=10)
        >>> p(torch.zeros(7, 1, 20), torch.zeros(6, 4, 5)).batch_shape
        torch.Size([7, 6])
    """
    if not isinstance(getattr(cls, "arg_constraints", None), dict) or not hasattr(cls, "to_event"):
        raise TypeError(
            f"{getattr(cls, '__name__', cls)}: expected a class of pyro.distributions, or one with to_event and "
            "arg_constraints as those have, which do not depend on its other parameters"
        )
    specification = dict.fromkeys(parameters) | shapes
    unknown = specification.keys() - cls.arg_constraints.keys()
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no parameter {', '.join(sorted(unknown))}; it has {', '.join(cls.arg_constraints)}"
        )
    for key in specification:
        if getattr(cls.arg_constraints[key], "is_discrete", False) or _is_dependent(
            cls.arg_constraints[key]
        ):
            raise ValueError(
                f"{cls.__name__}: no network can compute {key}, its constraint is {cls.arg_constraints[key]}"
            )

    title = name or cls.__name__
    rows = "\n".join(
        f"        {key}: {cls.arg_constraints[key]}"
        + (", of the event's shape" if shape is None else ", of a shape of its own")
        for key, shape in specification.items()
    )
    options = ", ".join(_structural(specification))
    chosen = "".join(f", {option}=2" for option in _structural(specification))
    said = textwrap.indent(inspect.cleandoc(doc), "    ")
    doc = (
        f"p(a | b), a `{cls.__name__}` whose parameters a network computes from b; see `family`.\n\n"
        + (f"{said}\n\n" if said else "")
        + "    Arguments:\n        event_shape, given: The shapes of a and b, see `Conditional`.\n"
        "        net: Builds the network, see `networks`.\n"
        + (
            f"        {options}: The size of an event's parameters, a whole number.\n"
            if options
            else ""
        )
        + f"{rows}\n"
        "            (each computed by the network, or fixed by giving it)\n"
    )
    module = sys._getframe(1).f_globals.get("__name__", __name__)
    if module.startswith("pyro_vae."):
        doc += f"\n    Example:\n        >>> {title}(3, given=20{chosen})\n        {title}((3,) | (20,){chosen})\n"
    namespace = {
        "distribution": cls,
        "specification": specification,
        "__doc__": doc,
        "__module__": module,
    }
    return type(title, (Family,), namespace)


def _shape(value: ShapeLike, name: str) -> Shape:
    shape = (value,) if isinstance(value, int) else value
    if not isinstance(shape, Sequence) or not all(isinstance(s, int) and s > 0 for s in shape):
        raise ValueError(
            f"{name}: expected a positive whole number or a tuple of them, got {value!r}"
        )
    return tuple(shape)


def _brief(value: Tensor) -> str:
    low, high = value.min().item(), value.max().item()
    return f"{low:g}" if low == high else f"values from {low:g} to {high:g}"


def _structural(specification: dict) -> dict[str, int | None]:
    """The options that the shapes of a specification take, with their defaults."""
    options = {}
    for shape in specification.values():
        for argument in (
            [] if shape is None else list(inspect.signature(shape).parameters.values())[1:]
        ):
            options[argument.name] = (
                None if argument.default is argument.empty else argument.default
            )
    return options


def _is_dependent(constraint: constraints.Constraint) -> bool:
    return constraint is constraints.dependent or isinstance(
        constraint, type(constraints.dependent)
    )


def positive(raw: Tensor) -> Tensor:
    """A softplus, within bounds that a float's arithmetic survives."""
    return nn.functional.softplus(raw).clamp(POSITIVE_MIN, POSITIVE_MAX)


def shrunk(a: Tensor, norm: float, dims: int) -> Tensor:
    """The tensor, scaled down over its last dimensions where its norm is above the one given."""
    total = a.square().sum(tuple(range(-dims, 0)), keepdim=True).clamp(min=1e-30).sqrt()
    return a * (norm / total).clamp(max=1.0)


def _lower_cholesky(raw: Tensor) -> Tensor:
    """A lower triangle with a positive diagonal, whose inverse does not overflow.

    diag(s) (I + N), N strictly lower: any such factor, as long as the inverse of I + N stays below
    `GROWTH_MAX`. N is the raw triangle over d: else what an optimiser jitters would add up over a
    row, and drown what is learned. Beyond, N is scaled down to a norm of 2.9, at which that holds
    for any N of any size: no entry of N^k is above 2.9^k / √(k-1)!, for it is a sum over falling
    chains (Smithies' bound), and these add up to less than 1e3.
    """
    eye = torch.eye(raw.shape[-1], dtype=raw.dtype, device=raw.device)
    scale = positive(raw.diagonal(dim1=-2, dim2=-1))
    n = raw.clamp(-REAL_MAX, REAL_MAX).tril(-1) / raw.shape[-1]
    with torch.no_grad():
        inverse = torch.linalg.solve_triangular(
            eye + n, eye.expand_as(n), upper=False, unitriangular=True
        )
        tame = inverse.abs().amax((-2, -1), keepdim=True) <= GROWTH_MAX
    return scale.unsqueeze(-1) * (eye + torch.where(tame, n, shrunk(n, 2.9, dims=2)))


def _constrain(constraint: constraints.Constraint, raw: Tensor) -> Tensor:
    """Numbers that a network returned, mapped into a constraint; finite, with finite gradients, for any float."""
    if constraint is constraints.lower_cholesky:
        return _lower_cholesky(raw)
    base = constraint
    while isinstance(base, constraints.independent):
        base = base.base_constraint
    if isinstance(base, constraints.greater_than | constraints.greater_than_eq):
        return base.lower_bound + positive(raw)
    raw = raw.clamp(-REAL_MAX, REAL_MAX)
    return raw if base is constraints.real else transform_to(constraint)(raw)
