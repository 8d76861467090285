"""Families: conditionals made of a class of distributions, in one line."""

import inspect
import sys
import textwrap
from collections.abc import Collection
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.conditionals.conditional import GivenLike
from pyro_vae.conditionals.layout import Layout
from pyro_vae.conditionals.parametric import Parametric
from pyro_vae.conditionals.shapes import ParameterShape, ShapeLike, find_sizes
from pyro_vae.networks import Builder, mlp


class Family(Parametric):
    """A conditional of one family of distributions, with parameters computed by a network.

    `family` makes a subclass, and a subclass is what is used. It declares the following.

    Attributes:
        distribution: The class of distributions.
        parameter_shapes: The shape of each parameter: None for the event's shape, otherwise a
            function of the event's shape and of sizes such as `classes`.
        defaults: Options that have a default.
        required: Parameters that no network computes. One of whole numbers is so by itself.
        starts_at_random: Whether free parameters start at random rather than at zero.
        layout: In an instance, how numbers become parameters.
    """

    distribution: type[dist.TorchDistribution]
    parameter_shapes: ClassVar[dict[str, ParameterShape | None]]
    defaults: ClassVar[dict[str, float]] = {}
    required: ClassVar[tuple[str, ...]] = ()
    starts_at_random: ClassVar[bool] = False

    def __init__(
        self,
        event_shape: ShapeLike,
        given: GivenLike | None = None,
        net: Builder | nn.Module = mlp,
        **options: float | Tensor | str,
    ):
        super().__init__(event_shape, given)

        self.layout = self.lay_out(event_shape, **options)
        if self.given_shapes and not self.layout.numbers:
            raise ValueError(
                f"{type(self).__name__}: every parameter is fixed, so nothing depends on "
                f"given={given}"
            )
        self._set_numbers(net, self.layout.out_shape, [self.layout])

    @classmethod
    def lay_out(cls, event_shape: ShapeLike, **options: float | Tensor | str) -> Layout:
        """How numbers become the parameters of this family, for an event of a given shape."""
        return Layout(cls, event_shape, options)

    @classmethod
    def constraint(cls, key: str) -> constraints.Constraint:
        """The set in which a parameter lies."""
        return cls.distribution.arg_constraints[key]

    @staticmethod
    def adjust(values: dict[str, Tensor], computed: Collection[str]) -> dict[str, Tensor]:
        """The parameters, adjusted to each other where a family needs it.

        Arguments:
            values: The parameters by name.
            computed: The names of those that were computed from numbers.
        """
        return values

    def forward(self, *given: Tensor) -> dist.TorchDistribution:
        numbers = self.compute_numbers(*given)

        return self._check_shapes(self.layout.at(numbers), given)

    @property
    def support(self) -> constraints.Constraint:
        return self.layout.support

    def options(self) -> dict[str, object]:
        return self.layout.options()


def check_family(name: str, given: object) -> None:
    """Raise a TypeError unless it is a class of families.

    Example:
        >>> check_family("family", pv.Normal)
    """
    if not isinstance(given, type) or not issubclass(given, Family):
        raise TypeError(f"{name}: expected a family, pv.Normal for one, got {given!r}")


def family(
    cls: type[dist.TorchDistribution],
    *parameters: str,
    name: str | None = None,
    doc: str = "",
    **shapes: ParameterShape,
) -> type[Family]:
    """A conditional family from any torch or Pyro distribution, in one line.

    Arguments:
        cls: A class of `pyro.distributions`, or one that has `to_event` and `arg_constraints` as
            those do.
        parameters: The names of the parameters that have the shape of the event.
        name: The name of the class, by default that of `cls`.
        doc: What its docstring says after the first sentence: the formula, the source, when to use
            it.
        shapes: The parameters of another shape, each a function of the event's shape. Further
            arguments of the function are options that the family then takes, such as `classes` in
            the example. It raises a ValueError for an event that it refuses.

    Returns:
        A class `Family(event_shape, given=None, net=mlp, **options)`. `net` is a builder or a
        module, see `networks`. A keyword that is a parameter of the family fixes it, as a buffer.
        The words "shared" and "free" have it learned without being computed from b. "shared" is one
        number for the whole event, and "free" is one for each entry. Positive parameters pass
        through a softplus held within [1e-6, 1e6], real ones are held within ±1e7, and a
        `scale_tril` is kept well-conditioned. So log p and its gradient stay finite whatever the
        network returns. Any other constraint uses `torch.distributions.transform_to`.

    Raises:
        ValueError: if the class has no such parameter, or a fixed one lies outside its constraint.
        TypeError: if an option is missing or unknown, or `cls` is no such class.

    Example:
        >>> Cauchy = family(dist.Cauchy, "loc", "scale")
        >>> Cauchy(3, given=20)
        Cauchy((3,) | (20,))
        >>> Cauchy((1, 28, 28), given=20, scale="shared")
        Cauchy((1, 28, 28) | (20,), scale=shared)
        >>> import torch
        >>> Labels = family(dist.Categorical, logits=lambda event, classes: (*event, classes))
        >>> p = Labels((2, 3), given=[20, (4, 5)], classes=10)
        >>> p(torch.zeros(7, 1, 20), torch.zeros(6, 4, 5)).batch_shape
        torch.Size([7, 6])
    """
    _check_class(cls)
    parameter_shapes = {**dict.fromkeys(parameters), **shapes}
    _check_parameters(cls, parameter_shapes)

    title = name or cls.__name__
    # the module that calls, as for a class that is written out there
    module = sys._getframe(1).f_globals.get("__name__", __name__)
    documented = _document(cls, parameter_shapes, doc)
    if module.startswith("pyro_vae."):
        documented += _exemplify(title, parameter_shapes)
    namespace = {
        "distribution": cls,
        "parameter_shapes": parameter_shapes,
        "__doc__": documented,
        "__module__": module,
    }

    return type(title, (Family,), namespace)


def _check_class(cls: object) -> None:
    is_class = isinstance(getattr(cls, "arg_constraints", None), dict) and hasattr(cls, "to_event")
    if not is_class:
        raise TypeError(
            "cls: expected a class of pyro.distributions, or one with to_event and "
            "arg_constraints as those have, which do not depend on its other parameters, got "
            f"{getattr(cls, '__name__', cls)}"
        )


def _check_parameters(
    cls: type[dist.TorchDistribution], shapes: dict[str, ParameterShape | None]
) -> None:
    unknown = shapes.keys() - cls.arg_constraints.keys()
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no parameter {', '.join(sorted(unknown))}; it has "
            f"{', '.join(cls.arg_constraints)}"
        )

    for key in shapes:
        constraint = cls.arg_constraints[key]
        if _is_dependent(constraint) or constraint.is_discrete:
            raise ValueError(
                f"{cls.__name__}: no network can compute {key}, its constraint is {constraint}"
            )


def _is_dependent(constraint: constraints.Constraint) -> bool:
    """Whether a constraint depends on other parameters."""
    return isinstance(constraint, type(constraints.dependent))


def _document(
    cls: type[dist.TorchDistribution], shapes: dict[str, ParameterShape | None], doc: str
) -> str:
    """The docstring of a family."""
    said = textwrap.indent(inspect.cleandoc(doc), "    ")
    sizes = ", ".join(find_sizes(shapes))

    lines = [
        f"p(a | b), a `{cls.__name__}` with parameters that a network computes from b, "
        "see `family`.",
        "",
    ]
    if said:
        lines += [said, ""]
    lines += [
        "    Arguments:",
        "        event_shape, given: The shapes of a and b, see `Conditional`.",
        "        net: Builds the network, see `networks`.",
    ]
    if sizes:
        lines.append(f"        {sizes}: The size of an event's parameters, a whole number.")
    for key, shape in shapes.items():
        whose = "of the event's shape" if shape is None else "of a shape of its own"
        lines.append(f"        {key}: {cls.arg_constraints[key]}, {whose}")
    lines.append("            (each computed by the network, or fixed by giving it)")

    return "\n".join(lines) + "\n"


def _exemplify(title: str, shapes: dict[str, ParameterShape | None]) -> str:
    """The example in the docstring of a family of ours."""
    sizes = "".join(f", {size}=2" for size in find_sizes(shapes))

    return textwrap.indent(
        f"\nExample:\n    >>> {title}(3, given=20{sizes})\n    {title}((3,) | (20,){sizes})\n",
        "    ",
    )
